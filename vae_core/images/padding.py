"""Padding and cropping images to a multiple of a VAE's ratio, and clips to a number of frames that a VAE encodes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadPixels


def padding(h: int, w: int, ratio: int) -> tuple[int, int, str]:
    """(rows to add below, columns to add at the right, mode of `F.pad`). Small images cannot be mirrored."""
    below, right = -h % ratio, -w % ratio
    return below, right, "reflect" if below < h and right < w else "replicate"


def pad_to(x: Tensor, ratio: int) -> Tensor:
    """Pad images to multiples of the ratio, below and at the right, by their mirror image.

    x: (..., H, W), 3 to 5 dimensions, any range and dtype. Returns x itself if nothing is missing.
    """
    below, right, how = padding(x.shape[-2], x.shape[-1], ratio)
    return F.pad(x, (0, right, 0, below), mode=how) if below or right else x


def crop_to(x: Tensor, ratio: int) -> Tensor:
    """Crop images to multiples of the ratio, keeping their middle. An odd row or column is lost below or at the right.

    x: (..., H, W), any range and dtype. Returns a view. Raises BadPixels for images smaller than the ratio.
    """
    h, w = x.shape[-2:]
    high, wide = h - h % ratio, w - w % ratio
    if not high or not wide:
        raise BadPixels(f"an image of {w}x{h} has nothing left when it is cropped to multiples of {ratio}: pad it.")
    top, left = (h - high) // 2, (w - wide) // 2
    return x[..., top : top + high, left : left + wide]


def repeat_last_frame(x: Tensor, missing: int) -> Tensor:
    """Continue a clip (T, C, H, W) by its last frame -> (T + missing, C, H, W)."""
    return torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x
