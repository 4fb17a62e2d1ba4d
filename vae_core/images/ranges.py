"""Ranges of colours. VAEs work with pixels in [-1, 1], images have values in [0, 1], and files have levels 0 to 255."""

import torch
from torch import Tensor


def to_unit_range(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1] -> image values in [0, 1]. Any shape and floating dtype; values outside are not clamped."""
    return (pixels + 1) / 2


def to_pixel_range(image: Tensor) -> Tensor:
    """Image values in [0, 1] -> pixels in [-1, 1]. Any shape and floating dtype; values outside are not clamped."""
    return image * 2 - 1


def to_levels(image: Tensor) -> Tensor:
    """Image values in [0, 1] -> the nearest of the levels 0 to 255, uint8. Any shape; values outside are clamped."""
    return (image * 255).round().clamp(0, 255).to(torch.uint8)
