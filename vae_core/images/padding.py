"""Images that are no multiple of the ratio are continued to the right and below, or cropped; clips at their end."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadPixels


def padding(h: int, w: int, ratio: int) -> tuple[int, int, str]:
    """(rows below, columns to the right, how): mirrored, or the last one repeated if the image is too small."""
    below, right = -h % ratio, -w % ratio
    return below, right, "reflect" if below < h and right < w else "replicate"


def pad_to(x: Tensor, ratio: int) -> Tensor:
    """Continue images to the right and below to a multiple of the ratio."""
    below, right, how = padding(x.shape[-2], x.shape[-1], ratio)
    return F.pad(x, (0, right, 0, below), mode=how) if below or right else x


def crop_to(x: Tensor, ratio: int) -> Tensor:
    """The middle of images whose sides are multiples of the ratio; a row or column that is odd is lost at the end.

    Raises BadPixels for images smaller than the ratio.
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
