"""Latent Sample: random points of a VAE's latent space, anywhere or around an image."""

from typing import Any

import torch
from torch import Tensor

from ..vae_core import Half
from ..vae_core.latents import NORMALISED, RAW, SPACES, Noise, convert, get_space
from . import geometry, host
from .encoding import PAD, prepare_pixels
from .images import WHITE, demand_image, tag_latent
from .latent_inputs import choice_input, float_input, int_input, seed_input, size_inputs

PRIOR = "standard normal"


class LatentSample:
    DESCRIPTION = (
        "Random points of a VAE's latent space. With an image: samples of the Gaussian that the encoder gives for it, "
        "which show how sure the VAE is of each detail. Without: samples of the prior, for every latent pixel alone, "
        "which show what a decoder makes of chance."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["sample posterior", "sample prior", "random latent", "vae sample", "reparameterize",
                      "latent variance"]  # fmt: skip
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The samples as a batch of raw latents: all of the first image, then all of the next.",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls):
        sizes = size_inputs()
        pixels = "Images to sample around. Without them: samples of the prior, of the size below."
        temperature = "Times the standard deviation. 0: the mode, which VAE Encode gives. 1: as trained. More: wilder."
        spread = (
            "For the prior: mean and spread of each channel. standard normal: 0 and 1, the prior that VAEs are trained "
            "towards, and seldom come near. A latent space: as latents of its models have them."
        )
        return {
            "required": {
                "vae": ("VAE", {"tooltip": "The VAE, from any loader."}),
                **seed_input(),
                "samples_per_image": int_input(4, 1, 4096, "How many samples of each image, or of the prior."),
                "temperature": float_input(1.0, 0.0, 100.0, temperature),
            },
            "optional": {
                "pixels": ("IMAGE", {"tooltip": pixels}),
                "width": sizes["width"],
                "height": sizes["height"],
                "latent_space": choice_input((PRIOR, *SPACES), PRIOR, spread, advanced=True),
            },
        }

    def sample(self, vae, seed, samples_per_image, temperature, pixels=None, width=512, height=512,
               latent_space=PRIOR):  # fmt: skip
        if pixels is not None:
            return sample_posterior(pixels, vae, seed, samples_per_image, temperature)
        where = geometry.latent_geometry(vae)
        noise = Noise(seed).draw(where.shape(samples_per_image, width, height)) * temperature
        latent = noise if latent_space == PRIOR else convert(noise, get_space(latent_space), NORMALISED, RAW)
        said = f"{samples_per_image} samples of the prior: {tuple(latent.shape)}"
        return host.told(said, where.tag_latent(host.result(latent), width, height))


def sample_posterior(pixels: Any, vae: Any, seed: int, count: int, temperature: float) -> dict[str, Any]:
    """Samples of the posterior of each image. Sample i is that of VAE Encode (Exact) with seed + i."""
    b, h, w, _ = demand_image(pixels).shape
    codec = host.from_socket(vae, Half.ENCODER, (b, 3, h, w))
    x, _ = prepare_pixels(pixels, codec, PAD, "automatic", WHITE)
    found = codec.encode(x, budget=host.budget(vae), progress=host.progress())
    drawn = [found.sample(torch.Generator().manual_seed((seed + i) % 2**64), temperature) for i in range(count)]
    latent = torch.stack(drawn, 1).flatten(0, 1)
    tagged = tag_latent(host.result(latent), codec.family, codec.spatial_ratio, found.size, codec)
    return host.told(_summarise(found.std, found.mean, count), tagged)


def _summarise(std: Tensor, mean: Tensor, count: int) -> str:
    if not std.any():
        return f"{count} times the same: this VAE gives a point for an image, and no Gaussian to sample"
    share = (std.square().mean() / mean.var()).sqrt().item()
    return f"{count} samples of each image; standard deviation {std.mean().item():.3g}, {share:.2%} of the latent's"
