"""Example Image: a photograph that comes with the pack, for workflows that must run on any machine."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..vae_core import checkpoints, readers
from . import host
from .entrance import checks_inputs
from .inputs import choice_input, int_input

MASKED = 0.5  # diameter of the ellipse, as a fraction of each side


@checks_inputs()
class ExampleImage:
    DESCRIPTION = (
        "Gives one of two photographs that come with this pack, cropped and resized to any size, and a mask over its "
        "middle. Workflows with it run without a file. Replace it with Load Image to use your own image."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["example image", "test image", "sample image", "photograph", "demo image"]
    RETURN_TYPES = ("IMAGE", "MASK")
    OUTPUT_TOOLTIPS = (
        "The photograph.",
        "1 in an ellipse in the middle that is half as wide and half as high as the image.",
    )
    FUNCTION = "give"

    @classmethod
    def INPUT_TYPES(cls):
        which = (
            "heron: a bird in a mangrove, with much detail. cat: a face with soft fur. Both are in the public domain "
            "(CC0)."
        )
        side = "of the result in pixels. Parts of the photograph that do not fit its shape are cropped on both sides."
        return {
            "required": {
                "image": choice_input(tuple(checkpoints.built_in.PHOTOGRAPHS), "heron", which),
                "width": int_input(512, 1, 16384, f"Width {side}"),
                "height": int_input(384, 1, 16384, f"Height {side}"),
            }
        }

    def give(self, image, width, height):
        found = crop_and_resize(read_photograph(checkpoints.built_in.PHOTOGRAPHS[image]), height, width)
        return host.result(found.movedim(1, -1).contiguous()), host.result(ellipse_mask(height, width))


def read_photograph(path: Path) -> Tensor:
    """-> (1, 3, H, W) in [0, 1], float32"""
    return readers.read(path)[0].movedim(-1, 1)


def crop_and_resize(image: Tensor, height: int, width: int) -> Tensor:
    """(B, C, H, W) in [0, 1] -> (B, C, height, width) in [0, 1]: the largest middle part of this shape, resized."""
    h, w = image.shape[-2:]
    scale = min(h / height, w / width)
    rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
    top, left = (h - rows) // 2, (w - columns) // 2
    part = image[..., top : top + rows, left : left + columns]
    return F.interpolate(part, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def ellipse_mask(height: int, width: int) -> Tensor:
    """-> MASK (1, height, width), 0 or 1, float32"""
    y, x = ((torch.arange(n) + 0.5) * 2 / n - 1 for n in (height, width))
    return ((y[:, None] ** 2 + x**2) <= MASKED**2).float()[None]
