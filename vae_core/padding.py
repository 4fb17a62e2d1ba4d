"""Pictures that are no multiple of the ratio are continued to the right and below."""

from torch import Tensor
from torch.nn import functional as F


def padding(h: int, w: int, ratio: int) -> tuple[int, int, str]:
    """(rows below, columns to the right, how): mirrored, or the last one repeated if the picture is too small."""
    below, right = -h % ratio, -w % ratio
    return below, right, "reflect" if below < h and right < w else "replicate"


def pad_to(x: Tensor, ratio: int) -> Tensor:
    """Continue pictures to the right and below to a multiple of the ratio."""
    below, right, how = padding(x.shape[-2], x.shape[-1], ratio)
    return F.pad(x, (0, right, 0, below), mode=how) if below or right else x
