"""Inputs that the encode nodes share, and preparing an image for a VAE."""

from typing import Any

from torch import Tensor

from ..vae_core import images
from .clips import to_clip_pixels
from .images import WHITE, convert_with_alpha
from .inputs import choice_input, seed_number, text_input

PAD, CROP = ODD_SIZES = ("pad", "crop")


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
