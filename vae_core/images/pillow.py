"""Pixels from and to images of Pillow's. Needs Pillow."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import BadPixels, say_why
from .exchange import describe, from_numpy, to_numpy


def from_pil(images: Image.Image | Sequence[Image.Image], channels: int = 3) -> Tensor:
    """One of Pillow's images, or several of the same size -> pixels (B, channels, H, W) in [-1, 1], float32.

    They are turned upright as their EXIF says. Palettes are resolved, grey is repeated, and alpha is left out if there
    is no channel for it, as `convert_channels` does. 16 bits are kept.
    Raises BadPixels for what is no image of Pillow's or cannot be read, for sizes that differ, and for numbers without
    an agreed white.
    """
    several = list(images) if isinstance(images, Sequence) else [images]
    arrays = [_read_pil(one) for one in several]
    sizes = sorted({f"{a.shape[1]}x{a.shape[0]}" for a in arrays})
    if len(sizes) != 1:
        raise BadPixels(f"images of one size are needed, not {', '.join(sizes) or 'none'}: encode them one by one.")
    return torch.cat([from_numpy(a, channels) for a in arrays])


def to_pil(pixels: Tensor) -> list[Image.Image]:
    """Pixels (B, C, H, W) or (B, C, T, H, W) about [-1, 1] -> Pillow's images, one for each image or frame, of 8 bits.

    1 channel is grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. Numbers beyond are clamped. Raises BadPixels.
    """
    arrays = to_numpy(pixels, levels=True)
    return [Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one) for one in arrays]


def _read_pil(image: object) -> np.ndarray:
    """-> (H, W), (H, W, C), of levels"""
    if not isinstance(image, Image.Image):
        raise BadPixels(f"an image of Pillow's is needed, not {describe(image)}: open a file with PIL.Image.open.")
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, EOFError, AssertionError) as e:  # only now the file is read
        raise BadPixels(f"this image cannot be read ({say_why(e)}): open its file again, or another copy of it.") from e
    if upright.mode == "La":
        upright = upright.convert("LA")
    if upright.mode.startswith("I;16"):
        return np.array(upright).astype(np.uint16)
    if upright.mode in ("I", "F"):
        raise BadPixels(f"the numbers of an image of mode {upright.mode} have no agreed white: divide them by theirs, "
                        "and use from_numpy.")  # fmt: skip
    return np.array(upright.convert(choose_mode(upright)))


def choose_mode(image: Image.Image) -> str:
    """'RGBA', 'RGB' or 'L': what an image of 8 bits in any mode is converted to without a loss but of precision."""
    bands = image.getbands()
    if {"A", "a"} & set(bands) or "transparency" in image.info:
        return "RGBA"
    return "L" if bands in (("L",), ("1",)) else "RGB"
