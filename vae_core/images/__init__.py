"""What surrounds a VAE: channels, padding, masks, compositing, metrics."""

from . import heatmaps, masks, metrics
from .channels import ALPHA, AUTOMATIC, convert_channels
from .compositing import composite, match_colours
from .heatmaps import WHITE_HOT, channel_grid
from .metrics import psnr, ssim
from .padding import crop_to, pad_to

__all__ = [
    "ALPHA",
    "AUTOMATIC",
    "WHITE_HOT",
    "channel_grid",
    "composite",
    "convert_channels",
    "crop_to",
    "heatmaps",
    "masks",
    "match_colours",
    "metrics",
    "pad_to",
    "psnr",
    "ssim",
]
