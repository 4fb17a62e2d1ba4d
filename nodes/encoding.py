"""What the encode nodes take beside an image and a VAE, and how an image is made ready for one."""

from typing import Any

from torch import Tensor

from ..vae_core.images import ALPHA, AUTOMATIC, crop_to
from .clips import to_clip_pixels
from .images import WHITE, convert_with_alpha

LARGEST_SEED = 2**64 - 1
PAD, CROP = ODD_SIZES = ("pad", "crop")


def posterior_inputs() -> dict[str, Any]:
    posterior = (
        "An encoder gives a Gaussian for every latent pixel. mode: its mean. sample: drawn from it with the seed, as "
        "in training."
    )
    seed = (
        "For posterior = sample; the mode does not depend on it. Drawn on the CPU: the same seed gives the same latent "
        "on every machine."
    )
    limits = {"default": 0, "min": 0, "max": LARGEST_SEED, "control_after_generate": False}
    return {
        "posterior": (["mode", "sample"], {"default": "mode", "tooltip": posterior}),
        "seed": ("INT", {**limits, "tooltip": seed}),
    }


def image_inputs() -> dict[str, Any]:
    sizes = (
        "An image that is no multiple of the VAE's ratio. pad: continued at its right and lower edge by its mirror "
        "image; the latent remembers the size. crop: its middle, as core does."
    )
    alpha = (
        "Transparency. automatic: kept by a VAE that has a channel for it, left out by others, as core does; the node "
        "says so. drop: left out. composite: the image laid on the background. keep: refused by other VAEs."
    )
    background = "For alpha = composite: the colour behind the image, as #rrggbb."
    return {
        "odd_sizes": (list(ODD_SIZES), {"default": PAD, "advanced": True, "tooltip": sizes}),
        "alpha": (list(ALPHA), {"default": AUTOMATIC, "advanced": True, "tooltip": alpha}),
        "background": ("STRING", {"default": WHITE, "advanced": True, "tooltip": background}),
    }


def prepare_pixels(image: Any, vae: Any, odd_sizes: str, alpha: str, background: str) -> tuple[Tensor, str]:
    """IMAGE -> (pixels as this VAE encodes them, a note for the person); the frames of a clip go together."""
    pixels, note = convert_with_alpha(image, vae.in_channels, alpha, background)
    pixels = crop_to(pixels, vae.spatial_ratio) if odd_sizes == CROP else pixels
    return to_clip_pixels(pixels, vae), note
