"""VAE Encode: an image to a latent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .. import vae_core
from ..vae_core import images
from . import host
from .entrance import checks_inputs
from .images import WHITE, convert_with_alpha, tag_latent, to_clip_pixels
from .inputs import choice_input, seed_number, text_input

PAD, CROP = ODD_SIZES = ("pad", "crop")


@checks_inputs()
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

    image: odd_sizes, alpha and background, see `prepare_pixels`.
    """
    options = options or vae_core.RunOptions()
    x, note = prepare_pixels(pixels, host.facts(vae), *image)
    codec = host.from_socket(vae, vae_core.Half.ENCODER, tuple(x.shape), options)
    shown, budget = host.Shown(note), host.budget(vae)
    told = {"on_plan": shown, "progress": host.progress(), "advice": host.advise(options)}
    options = replace(options, budget=budget, **told)
    found = codec.encode(x, options=options)
    generator = torch.Generator().manual_seed(seed)
    latent = found.mode() if posterior == "mode" else found.sample(generator)
    frames = x.shape[2] if x.ndim == 5 and codec.clip_law else None
    made = tag_latent(host.result(latent), codec.family, codec.spatial_ratio, found.size, codec, frames)
    return shown.beside(made)


def posterior_inputs() -> dict[str, Any]:
    posterior = (
        "The encoder gives a Gaussian for every latent pixel. mode: take its mean. sample: draw from it with the "
        "seed, as in training."
    )
    seed = "Used if posterior is sample. The same seed gives the same latent on every machine."
    return {
        "posterior": choice_input(("mode", "sample"), "mode", posterior),
        "seed": seed_number(seed, control_after_generate=False),
    }


def image_inputs() -> dict[str, Any]:
    sizes = (
        "For an image whose sides are not multiples of the VAE's ratio. pad: mirror it at its right and lower edge; "
        "the latent remembers the size. crop: keep its middle, as ComfyUI does."
    )
    alpha = (
        "Transparency. automatic: keep it if the VAE has a channel for it, otherwise leave it out, as ComfyUI does, "
        "and say so. drop: leave it out. composite: lay the image over the background. keep: keep it, or fail if the "
        "VAE has no channel for it."
    )
    background = "Used if alpha is composite: the colour behind the image, as #rrggbb."
    return {
        "odd_sizes": choice_input(ODD_SIZES, PAD, sizes, advanced=True),
        "alpha": choice_input(images.ALPHA, images.AUTOMATIC, alpha, advanced=True),
        "background": text_input(WHITE, background, advanced=True),
    }


def prepare_pixels(image: Any, vae: Any, odd_sizes: str, alpha: str, background: str) -> tuple[Tensor, str]:
    """IMAGE -> (pixels in the channels, sizes and layout that this VAE encodes, a note on transparency).

    For a VAE of clips the images are the frames of one clip. Raises BadPixels and BadRequest.
    """
    pixels, note = convert_with_alpha(image, vae.in_channels, alpha, background)
    pixels = images.crop_to(pixels, vae.spatial_ratio) if odd_sizes == CROP else pixels
    return to_clip_pixels(pixels, vae), note
