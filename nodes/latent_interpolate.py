"""Latent Interpolate: a latent between two others, or a walk from one to the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..vae_core import LatentMismatch, latents
from . import host
from .entrance import checks_inputs
from .images import latent_of, replace_latent, tag_of
from .inputs import choice_input, float_input, int_input
from .several import join_latents, split_latents

PER_ITEM = ("noise_mask", "batch_index")  # keys that no longer hold for a batch of other items


@checks_inputs()
class LatentInterpolate:
    DESCRIPTION = (
        "Interpolates between two latents, each item of a batch along its own circle (slerp) or line (lerp). With more "
        "than one step it walks from the first latent to the second and returns all steps as a batch."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["slerp", "lerp", "blend latents", "mix latents", "latent blend", "latent walk", "morph",
                      "interpolate"]  # fmt: skip
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The interpolated latent, or all steps of the walk, pair by pair.",)
    FUNCTION = "op"

    @classmethod
    def INPUT_TYPES(cls):
        ratio = "Share of samples1, as in ComfyUI's own node: 1 gives samples1, 0 gives samples2. A walk ignores it."
        method = "slerp: along a circle, which keeps the spread of noise and of latents. lerp: along a straight line."
        steps = "1: one latent at ratio. More: a batch of that many points from samples1 to samples2, both included."
        one = "Both need the same channels and size, and the same number of items; or one of them has a single item."
        return {
            "required": {
                "samples1": ("LATENT", {"tooltip": f"The first latent, where a walk begins. {one}"}),
                "samples2": ("LATENT", {"tooltip": f"The second latent, where a walk ends. {one}"}),
                "ratio": float_input(1.0, 0.0, 1.0, ratio),
            },
            "optional": {
                "method": choice_input(latents.METHODS, latents.SLERP, method),
                "steps": int_input(1, 1, 4096, steps),
            },
        }

    def op(self, samples1, samples2, ratio, method="slerp", steps=1):
        several = [split_latents(samples) for samples in (samples1, samples2)]
        if len(several[0]) != len(several[1]):
            counts = " and ".join(str(len(one)) for one in several)
            raise LatentMismatch(f"samples1 and samples2 hold {counts} latents: both need as many.")
        pairs = zip(*several, strict=True)
        return (join_latents([_interpolate(a, b, ratio, method, steps) for a, b in pairs]),)


def _interpolate(samples1: Any, samples2: Any, ratio: float, method: str, steps: int) -> dict[str, Any]:
    """Of LATENTs that hold one latent each."""
    a, tag = latent_of(samples1), _common_tag(samples1, samples2)
    b = latent_of(samples2).to(a.device)
    found = latents.interpolate(a, b, 1 - ratio, method) if steps == 1 else latents.walk(a, b, steps, method)
    drop = PER_ITEM if len(found) != len(a) else ()
    return replace_latent(samples1, host.result(found), tag, drop)


def _common_tag(samples1: Any, samples2: Any) -> latents.Tag | None:
    """The tag that both share, if any. Raises LatentMismatch if their conventions differ."""
    one, other = tag_of(samples1), tag_of(samples2)
    a, b = (tag.convention if tag else latents.RAW for tag in (one, other))
    if a != b:
        raise LatentMismatch(f"one of these latents is {a}, the other {b}: use Convert Latent (Exact) first.")
    facts = [replace(tag, marks=None, items=None) if tag else None for tag in (one, other)]
    return one if facts[0] == facts[1] else None
