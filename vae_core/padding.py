"""Pictures that are no multiple of the ratio are continued to the right and below, or cropped."""

from torch import Tensor
from torch.nn import functional as F

from .errors import BadPixels


def padding(h: int, w: int, ratio: int) -> tuple[int, int, str]:
    """(rows below, columns to the right, how): mirrored, or the last one repeated if the picture is too small."""
    below, right = -h % ratio, -w % ratio
    return below, right, "reflect" if below < h and right < w else "replicate"


def pad_to(x: Tensor, ratio: int) -> Tensor:
    """Continue pictures to the right and below to a multiple of the ratio."""
    below, right, how = padding(x.shape[-2], x.shape[-1], ratio)
    return F.pad(x, (0, right, 0, below), mode=how) if below or right else x


def crop_to(x: Tensor, ratio: int) -> Tensor:
    """The middle of pictures whose sides are multiples of the ratio; a row or column that is odd is lost at the end.

    Raises BadPixels for pictures smaller than the ratio.
    """
    h, w = x.shape[-2:]
    high, wide = h - h % ratio, w - w % ratio
    if not high or not wide:
        raise BadPixels(f"a picture of {w}x{h} has nothing left when it is cropped to multiples of {ratio}: pad it.")
    top, left = (h - high) // 2, (w - wide) // 2
    return x[..., top : top + high, left : left + wide]
