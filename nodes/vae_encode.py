"""VAE Encode: an image to its latent."""

from dataclasses import replace
from typing import Any

import torch

from ..vae_core import Half, RunOptions
from ..vae_core.execution import DEFAULTS
from . import host
from .encoding import PAD, image_inputs, posterior_inputs, prepare_pixels
from .images import WHITE, tag_latent


class VAEEncode:
    DESCRIPTION = (
        "Encodes an image of any size: whole while that fits into free memory, otherwise in bands of rows, which give "
        "the same latent. The node shows which. An image that is no multiple of the VAE's ratio is continued at its "
        "edges, and the latent remembers the size, so that VAE Decode (Exact) gives it back. The latent is the mode of "
        "the posterior, or a sample of it."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["vae encode", "encode image", "image to latent", "posterior", "img2img"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = (
        "The raw latent, as every VAE Encode gives it, with a note of whose it is and the image's size.",
    )
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        pixels = "The image, or several; the frames of a clip, for a VAE of clips. Grey is taken as RGB."
        return {
            "required": {
                "pixels": ("IMAGE", {"tooltip": pixels}),
                "vae": ("VAE", {"tooltip": "The VAE to encode with, from any loader."}),
            },
            "optional": {**posterior_inputs(), **image_inputs()},
        }

    def encode(self, pixels, vae, *, posterior="mode", seed=0, odd_sizes=PAD, alpha="automatic", background=WHITE):
        return encode_to_latent(pixels, vae, posterior, seed, (odd_sizes, alpha, background))


def encode_to_latent(
    pixels: Any,
    vae: Any,
    posterior: str,
    seed: int,
    image: tuple[str, str, str],
    options: RunOptions = DEFAULTS,
) -> dict[str, Any]:
    """What an encode node returns. image: see `encoding.prepared`."""
    x, note = prepare_pixels(pixels, host.look(vae), *image)
    codec = host.from_socket(vae, Half.ENCODER, tuple(x.shape), options)
    shown, budget = host.Shown(note), host.budget(vae)
    options = replace(options, budget=budget, on_plan=shown, progress=host.progress())
    found = codec.encode(x, options=options)
    generator = torch.Generator().manual_seed(seed)
    latent = found.mode() if posterior == "mode" else found.sample(generator)
    return shown.beside(tag_latent(host.result(latent), codec.family, codec.spatial_ratio, found.size, codec))
