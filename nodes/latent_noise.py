"""Latent Noise: noise from a seed in the shape of a VAE's latents, as a LATENT and as a NOISE for samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..vae_core import latents
from . import host
from .entrance import checks_inputs
from .geometry import LatentGeometry, latent_geometry
from .images import latent_of, replace_latent, tag_of
from .inputs import (
    batch_seeds_input,
    bool_input,
    float_input,
    int_input,
    length_input,
    noise_inputs,
    seed_input,
    size_inputs,
)
from .several import items_of, join_latents, split_latents


@checks_inputs()
class LatentNoise:
    DESCRIPTION = (
        "Makes noise with the channels and size that a VAE needs, or in the shape of another latent, alone or added to "
        "that latent. Gives the same noise to samplers that take a NOISE. The same seed gives the same noise on every "
        "machine. A strength of 0 gives an empty latent."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["noise", "random noise", "noisy latent", "random latent", "seed", "variation seed", "perlin",
                      "pink noise", "add noise", "inject noise", "nvidia rng", "a1111 noise"]  # fmt: skip
    RETURN_TYPES = ("LATENT", "NOISE")
    OUTPUT_TOOLTIPS = (
        "The noise times strength, as a raw latent; or the given latent with the noise added.",
        "The noise for SamplerCustomAdvanced and similar nodes, drawn in the shape of their latent. Its variance is 1, "
        "whatever the strength.",
    )
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        strength = (
            "Standard deviation of the noise. 0 gives an empty latent; or the given latent unchanged, if noise is "
            "added to it."
        )
        shape_of = (
            "The noise takes the shape of this latent, with its batch and frames. The latent itself is not changed."
        )
        shape_for = "The noise takes the channels and the ratio of this VAE."
        add = "On: add the noise to the latent of samples. Off: return the noise alone."
        alone = "Used if neither vae nor samples is connected:"
        return {
            "required": {
                **seed_input(),
                **size_inputs(),
                "strength": float_input(1.0, 0.0, 1000.0, strength),
            },
            "optional": {
                "vae": ("VAE", {"tooltip": shape_for}),
                "samples": ("LATENT", {"tooltip": shape_of}),
                **batch_seeds_input(),
                "channels": int_input(
                    4, 1, 4096, f"{alone} number of channels (SD 1.x and SDXL 4, FLUX.1 16).", advanced=True
                ),
                "ratio": int_input(8, 1, 256, f"{alone} pixels per latent pixel, in each direction.", advanced=True),
                **noise_inputs(),
                "add_to_samples": bool_input(False, add),
                **length_input(),
            },
        }

    def make(self, seed, width, height, batch_size, strength, vae=None, samples=None, batch_seeds="increment",
             channels=4, ratio=8, source="cpu", spectrum="white", variation_seed=0, variation_strength=0.0,
             add_to_samples=False, length=1):  # fmt: skip
        noise = latents.Noise(seed, source, batch_seeds, spectrum, variation_seed, variation_strength)
        if samples is not None:
            made = draw_noise_like(samples, noise, strength, add_to_samples)
        else:
            where = latent_geometry(vae) if vae is not None else LatentGeometry(None, channels, ratio)
            made = draw_noise(where, (batch_size, width, height, length), noise, strength)
        return host.show_text(describe_size(made), made, SamplerNoise(noise))


class SamplerNoise:
    """The object on a NOISE socket, with the attribute and the method that ComfyUI's samplers use."""

    def __init__(self, noise: latents.Noise):
        self.noise, self.seed = noise, noise.seed

    def generate_noise(self, input_latent: Mapping[str, Any]) -> Any:
        """Noise on the CPU, in the shape and dtype of what the LATENT holds: a tensor, or several as one object."""
        found = [noise.to(latent.dtype) for latent, noise in _draw_for(split_latents(input_latent), self.noise)]
        return found[0] if len(found) == 1 else host.nest(found)


def draw_noise(
    where: LatentGeometry, size: tuple[int, int, int, int], noise: latents.Noise, strength: float
) -> Mapping[str, Any]:
    """A LATENT of noise, or of zeros at strength 0. size: (items, width and height in pixels, frames)."""
    if strength == 0:
        return where.make_empty(*size)
    _, width, height, _ = size
    return where.tag_latent(host.result(noise.draw(where.shape(*size)) * strength), width, height)


def describe_size(samples: Mapping[str, Any]) -> str:
    """'1 latent, 4 channels, 64 x 96, for 512 x 768 pixels': of each latent in it, widths first."""
    return "; ".join(map(_describe_one, split_latents(samples)))


def _describe_one(samples: Mapping[str, Any]) -> str:
    shape, tag = tuple(latent_of(samples).shape), tag_of(samples)
    size, width = tag.size_of(shape) if tag else None, shape[-1]
    parts = [
        _count(shape[0], "latent"),
        _count(shape[1], "channel"),
        f"{width} x {shape[-2]}" if len(shape) > 3 else f"{width} long",  # as of sound
        *(_count(frames, "latent frame") for frames in shape[2:-2]),
        f"for {size[1]} x {size[0]} pixels" if size else "",
    ]
    return ", ".join(filter(None, parts))


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def draw_noise_like(samples: Mapping[str, Any], noise: latents.Noise, strength: float, add: bool) -> Mapping[str, Any]:
    """A LATENT of noise in the shape of another, or that one with noise added."""
    several = split_latents(samples)
    drawn = [made.to(latent.device) * strength for latent, made in _draw_for(several, noise)]
    return join_latents([_put_noise(one, made, add) for one, made in zip(several, drawn, strict=True)])


def _put_noise(samples: Mapping[str, Any], drawn: Tensor, add: bool) -> dict[str, Any]:
    """Noise in the place of the latent of a LATENT that holds one, or added to it."""
    latent, tag = latent_of(samples), tag_of(samples)
    if add:
        return replace_latent(samples, host.result(latent + drawn), tag)
    fresh = replace(tag, convention=latents.RAW, vae=None) if tag else None  # no VAE made this noise
    return replace_latent(samples, host.result(drawn), fresh, drop=("noise_mask",))


def _draw_for(several: Sequence[Mapping[str, Any]], noise: latents.Noise) -> list[tuple[Tensor, Tensor]]:
    """For each of these LATENTs its latent, and noise in the shape of it."""
    found = [latent_of(one) for one in several]
    items = items_of(several[0])
    drawn = noise.draw_several([z.shape for z in found], items if len(items or ()) == len(found[0]) else None)
    return list(zip(found, drawn, strict=True))
