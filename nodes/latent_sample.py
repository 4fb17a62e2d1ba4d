"""Latent Sample: random latents, from the posterior of an image or from the prior."""

from typing import Any

import torch
from torch import Tensor

from .. import vae_core
from ..vae_core import latents
from . import host
from .entrance import checks_inputs
from .frames import CLIP, frames_input
from .geometry import latent_geometry
from .images import demand_image, tag_latent
from .inputs import choice_input, float_input, int_input, seed_input, size_inputs
from .vae_encode import Preparation, prepare_pixels

PRIOR = "standard normal"


@checks_inputs()
class LatentSample:
    DESCRIPTION = (
        "Draws random latents. With an image, they are samples of the Gaussian that the encoder gives for it: decode "
        "them to see how sure the VAE is of each detail. Without an image, every latent pixel is drawn from the prior "
        "on its own: decode these to see what the decoder makes of random latents."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["sample posterior", "sample prior", "random latent", "vae sample", "reparameterize",
                      "latent variance"]  # fmt: skip
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("A batch of raw latents: all samples of the first image, then all of the next.",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls):
        sizes = size_inputs()
        pixels = "Draw from the posterior of these images. If not connected: draw from the prior, in the size below."
        temperature = (
            "Factor for the standard deviation. 0: the mode, as VAE Encode gives it. 1: as trained. Above 1: more "
            "random."
        )
        spread = (
            "Used for the prior: mean and spread of each channel. standard normal: mean 0 and spread 1, the prior of "
            "the training loss, from which real latents differ. A latent space: the statistics of its models' latents."
        )
        return {
            "required": {
                "vae": ("VAE", {"tooltip": "The VAE, from any loader."}),
                **seed_input(),
                "samples_per_image": int_input(4, 1, 4096, "Number of samples of each image, or of the prior."),
                "temperature": float_input(1.0, 0.0, 100.0, temperature),
            },
            "optional": {
                "pixels": ("IMAGE", {"tooltip": pixels}),
                "width": sizes["width"],
                "height": sizes["height"],
                "latent_space": choice_input((PRIOR, *latents.SPACES), PRIOR, spread, advanced=True),
                **frames_input(),
            },
        }

    def sample(self, vae, seed, samples_per_image, temperature, pixels=None, width=512, height=512,
               latent_space=PRIOR, frames=CLIP):  # fmt: skip
        if pixels is not None:
            return sample_posterior(pixels, vae, seed, samples_per_image, temperature, frames)
        where = latent_geometry(vae)
        noise = latents.Noise(seed).draw(where.shape(samples_per_image, width, height)) * temperature
        latent = noise if latent_space == PRIOR else spread_like(noise, latent_space)
        text = f"{samples_per_image} samples of the prior: {tuple(latent.shape)}"
        return host.show_text(text, where.tag_latent(host.result(latent), width, height))


def spread_like(noise: Tensor, space: str) -> Tensor:
    """Noise with mean 0 and variance 1, (B, C, h, w) -> raw latents with the statistics of this latent space."""
    return latents.convert(noise, latents.get_space(space), latents.NORMALISED, latents.RAW)


def sample_posterior(
    pixels: Any, vae: Any, seed: int, count: int, temperature: float, frames: str = CLIP
) -> dict[str, Any]:
    """Samples of the posterior of each image. Sample i equals that of VAE Encode (Exact) with seed + i."""
    b, h, w, _ = demand_image(pixels).shape
    codec = host.from_socket(vae, vae_core.Half.ENCODER, (b, 3, h, w))
    x, note = prepare_pixels(pixels, codec, Preparation(frames=frames))
    advice = host.advise(vae_core.RunOptions())
    found = codec.encode(x, budget=host.budget(vae), progress=host.progress(), advice=advice)
    drawn = [found.sample(torch.Generator().manual_seed((seed + i) % 2**64), temperature) for i in range(count)]
    latent = torch.stack(drawn, 1).flatten(0, 1)
    length = x.shape[2] if x.ndim == 5 and codec.clip_law else None
    tagged = tag_latent(host.result(latent), codec.family, codec.spatial_ratio, found.size, codec, length)
    return host.show_text("; ".join(filter(None, (_summarise(found.std, found.mean, count), note))), tagged)


def _summarise(std: Tensor, mean: Tensor, count: int) -> str:
    if not std.any():
        return f"{count} equal latents: this VAE gives a point for an image instead of a Gaussian"
    share = (std.square().mean() / mean.var()).sqrt().item()
    return f"{count} samples of each image; standard deviation {std.mean().item():.3g}, {share:.2%} of the latent's"
