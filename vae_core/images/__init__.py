"""What surrounds a VAE: channels, padding, masks, compositing, metrics."""

from . import heatmaps, masks, metrics
from .channels import ALPHA, AUTOMATIC, as_channels
from .compositing import colour_matched, onto
from .heatmaps import WHITE_HOT, latent_channels
from .metrics import psnr, ssim
from .padding import crop_to, pad_to

__all__ = [
    "ALPHA",
    "AUTOMATIC",
    "WHITE_HOT",
    "as_channels",
    "colour_matched",
    "crop_to",
    "heatmaps",
    "latent_channels",
    "masks",
    "metrics",
    "onto",
    "pad_to",
    "psnr",
    "ssim",
]
