"""VAE Encode: an image to a latent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from .. import vae_core
from . import host
from .encoding import PAD, image_inputs, posterior_inputs, prepare_pixels
from .images import WHITE, tag_latent


class VAEEncode:
    DESCRIPTION = (
        "Encodes an image of any size. It runs whole if that fits into free memory, and otherwise in bands of rows, "
        "with the same result. The node shows which. If the sides are not multiples of the VAE's ratio, the image is "
        "padded, the latent remembers the size, and VAE Decode (Exact) returns it. The latent is the mode of the "
        "posterior, or a sample of it."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["vae encode", "encode image", "image to latent", "posterior", "img2img"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The raw latent, as every VAE Encode gives it. It remembers the VAE and the size of the image.",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        pixels = "One image or several. For a VAE of clips they are the frames of a clip. Grey images are read as RGB."
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
    options: vae_core.RunOptions | None = None,
) -> dict[str, Any]:
    """Encode an IMAGE to what an encode node returns.

    image: odd_sizes, alpha and background, see `encoding.prepare_pixels`.
    """
    options = options or vae_core.RunOptions()
    x, note = prepare_pixels(pixels, host.facts(vae), *image)
    codec = host.from_socket(vae, vae_core.Half.ENCODER, tuple(x.shape), options)
    shown, budget = host.Shown(note), host.budget(vae)
    options = replace(options, budget=budget, on_plan=shown, progress=host.progress())
    found = codec.encode(x, options=options)
    generator = torch.Generator().manual_seed(seed)
    latent = found.mode() if posterior == "mode" else found.sample(generator)
    return shown.beside(tag_latent(host.result(latent), codec.family, codec.spatial_ratio, found.size, codec))
