"""Latent Interpolate: between two latents, or a walk from one to the other."""

from typing import Any

from ..vae_core import LatentMismatch
from ..vae_core.latents import METHODS, RAW, SLERP, Tag, interpolate, walk
from . import host
from .images import latent_of, replace_latent, tag_of
from .latent_inputs import choice_input, float_input, int_input

PER_ITEM = ("noise_mask", "batch_index")  # what is no longer true of a batch with other items


class LatentInterpolate:
    DESCRIPTION = (
        "A latent between two others, each item of a batch along its own circle (slerp) or line (lerp); or a walk from "
        "the first to the second, its steps as a batch."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["slerp", "lerp", "blend latents", "mix latents", "latent blend", "latent walk", "morph",
                      "interpolate"]  # fmt: skip
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The latent between, or all steps of the walk, pair by pair.",)
    FUNCTION = "op"

    @classmethod
    def INPUT_TYPES(cls):
        ratio = "The share of samples1, as in core's node: 1 gives samples1, 0 gives samples2. Not for a walk."
        method = "slerp: along a circle, which keeps the spread of noise and of latents. lerp: along the line."
        steps = "1: one latent, by ratio. More: that many points from samples1 to samples2, both included, as a batch."
        one = "Of the same channels and size; as many items as the other, or one item for all of them."
        return {
            "required": {
                "samples1": ("LATENT", {"tooltip": f"Where a walk begins. {one}"}),
                "samples2": ("LATENT", {"tooltip": f"Where it ends. {one}"}),
                "ratio": float_input(1.0, 0.0, 1.0, ratio),
            },
            "optional": {
                "method": choice_input(METHODS, SLERP, method),
                "steps": int_input(1, 1, 4096, steps),
            },
        }

    def op(self, samples1, samples2, ratio, method=SLERP, steps=1):
        a, b, tag = (
            latent_of(samples1),
            latent_of(samples2).to(latent_of(samples1).device),
            _common_tag(samples1, samples2),
        )
        found = interpolate(a, b, 1 - ratio, method) if steps == 1 else walk(a, b, steps, method)
        drop = PER_ITEM if len(found) != len(a) else ()
        return (replace_latent(samples1, host.result(found), tag, drop),)


def _common_tag(samples1: Any, samples2: Any) -> Tag | None:
    """The tag that both agree on. Raises LatentMismatch for numbers of different meanings."""
    one, other = tag_of(samples1), tag_of(samples2)
    a, b = (tag.convention if tag else RAW for tag in (one, other))
    if a != b:
        raise LatentMismatch(f"one of these latents is {a}, the other {b}: use Convert Latent (Exact) first.")
    return one if one == other else None
