"""Latent Noise: seeded noise in the shape a VAE or a latent asks for, as a latent and for samplers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..vae_core.latents import RAW, Noise
from . import geometry, host
from .images import latent_of, replace_latent, tag_of
from .latent_inputs import (
    batch_seeds_input,
    float_input,
    int_input,
    length_input,
    noise_inputs,
    seed_input,
    size_inputs,
)


class LatentNoise:
    DESCRIPTION = (
        "Noise of the right channels and size for a VAE, or of the shape of another latent, alone or added to it; and "
        "the same noise for samplers that take a NOISE. The same seed gives the same noise on every machine. "
        "Strength 0 gives an empty latent."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["noise", "random noise", "noisy latent", "random latent", "seed", "variation seed", "perlin",
                      "pink noise", "add noise", "inject noise", "nvidia rng", "a1111 noise"]  # fmt: skip
    RETURN_TYPES = ("LATENT", "NOISE")
    OUTPUT_TOOLTIPS = (
        "The noise, times strength, as a raw latent; or the latent with it added.",
        "The noise for SamplerCustomAdvanced and the like, which draw it in their latent's shape; of variance 1, "
        "whatever the strength.",
    )
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        strength = "Standard deviation of the noise. 0 gives an empty latent, all zeros; or the latent as it was."
        shape_of = "A latent whose shape the noise takes, batch and frames too. It is not changed."
        add = "On: the latent of `samples` with the noise added to it. Off: the noise alone."
        alone = "Without a VAE or a latent:"
        return {
            "required": {
                **seed_input(),
                **size_inputs(),
                "strength": float_input(1.0, 0.0, 1000.0, strength),
            },
            "optional": {
                "vae": ("VAE", {"tooltip": "Gives the channels and the ratio. Without it: channels and ratio below."}),
                "samples": ("LATENT", {"tooltip": shape_of}),
                **batch_seeds_input(),
                "channels": int_input(
                    4, 1, 4096, f"{alone} its channels (SD 1.x and SDXL 4, FLUX.1 16).", advanced=True
                ),
                "ratio": int_input(8, 1, 256, f"{alone} pixels to one latent pixel, each way.", advanced=True),
                **noise_inputs(),
                "add_to_samples": ("BOOLEAN", {"default": False, "tooltip": add}),
                **length_input(),
            },
        }

    def make(self, seed, width, height, batch_size, strength, vae=None, samples=None, batch_seeds="increment",
             channels=4, ratio=8, source="cpu", spectrum="white", variation_seed=0, variation_strength=0.0,
             add_to_samples=False, length=1):  # fmt: skip
        noise = Noise(seed, source, batch_seeds, spectrum, variation_seed, variation_strength)
        if samples is not None:
            return draw_noise_like(samples, noise, strength, add_to_samples), SamplerNoise(noise)
        made = geometry.latent_geometry(vae) if vae is not None else geometry.LatentGeometry(None, channels, ratio)
        if strength == 0:
            return made.empty(batch_size, width, height, length), SamplerNoise(noise)
        drawn = host.result(noise.draw(made.shape(batch_size, width, height, length)) * strength)
        return made.tag_latent(drawn, width, height), SamplerNoise(noise)


class SamplerNoise:
    """What travels on a NOISE socket."""

    def __init__(self, noise: Noise):
        self.noise, self.seed = noise, noise.seed

    def generate_noise(self, input_latent: Mapping[str, Any]) -> Tensor:
        """On the CPU, in the shape and dtype of the LATENT."""
        latent = latent_of(input_latent)
        return self.noise.draw(latent.shape, _batch_index(input_latent, len(latent))).to(latent.dtype)


def draw_noise_like(samples: Mapping[str, Any], noise: Noise, strength: float, add: bool) -> dict[str, Any]:
    """The LATENT with noise in the place of its numbers, or added to them."""
    latent, tag = latent_of(samples), tag_of(samples)
    drawn = noise.draw(latent.shape, _batch_index(samples, len(latent))).to(latent.device) * strength
    if add:
        return replace_latent(samples, host.result(latent + drawn), tag)
    fresh = replace(tag, convention=RAW, vae=None) if tag else None  # no VAE made these numbers, nothing scaled them
    return replace_latent(samples, host.result(drawn), fresh, drop=("noise_mask",))


def _batch_index(samples: Mapping[str, Any], items: int) -> list[int] | None:
    """For a batch that was taken out of a larger one: which of its items."""
    found = samples.get("batch_index")
    return list(found) if found is not None and len(found) == items else None
