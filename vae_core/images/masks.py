"""Masks: 1 where an image is generated anew, 0 where it is kept. (B, 1, H, W) in [0, 1]."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadRequest
from ..plain import describe, name_kind, name_need

_COUNTS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def resize(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Check a mask and resize it to (H, W), bilinearly, if it has another size.

    mask: (H, W), (B, H, W) or (B, 1, H, W), any dtype. Returns (B, 1, *size) in [0, 1], float32.
    Raises BadRequest for what is no tensor, other shapes, no pixels, NaN and infinity.
    """
    demand(mask)
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).float().clamp(0, 1)
    return mask if mask.shape[-2:] == size else F.interpolate(mask, size, mode="bilinear")


def demand(mask: object, what: str = "this mask") -> Tensor:
    """The mask, if it is what `resize` takes. Raises BadRequest otherwise.

    mask: (H, W), (B, H, W) or (B, 1, H, W), floating-point, whole numbers or bool. what: names it in the sentence.
    """
    needed = "numbers in [0, 1] of shape (B, H, W) are needed."
    counts = isinstance(mask, Tensor) and not name_kind(mask) and mask.dtype in _COUNTS
    if need := "" if counts else name_need(mask):
        raise BadRequest(f"{what} must be {need}: {needed}")
    assert isinstance(mask, Tensor)
    if mask.ndim not in (2, 3, 4) or 0 in mask.shape:
        raise BadRequest(f"{what} is {describe(mask)}: {needed}")
    if not torch.isfinite(mask).all():
        raise BadRequest(f"{what} holds NaN or infinity: {needed}")
    return mask


def grow(mask: Tensor, by: int) -> Tensor:
    """Round a mask to 0 and 1 and make it `by - 1` pixels wider and higher, as core's node for inpainting does.

    mask: (B, 1, H, W) in [0, 1]. Returns the same shape, 0 or 1. If `by` is even, the odd pixel is added below and at
    the right.
    """
    before, after = by // 2, (by - 1) // 2
    mask = mask.round()
    return F.max_pool2d(F.pad(mask, (before, after, before, after)), by, 1) if by > 1 else mask


def cover_cells(mask: Tensor, ratio: int) -> Tensor:
    """Widen a mask to whole latent pixels: every cell of ratio x ratio pixels gets its largest value.

    mask: (B, 1, H, W) in [0, 1], H and W multiples of the ratio. Returns the same shape and range.
    """
    return F.max_pool2d(mask, ratio).repeat_interleave(ratio, -1).repeat_interleave(ratio, -2)


def feather(mask: Tensor, width: int) -> Tensor:
    """Fade a mask to 0 over `width` pixels inside its edges. It never becomes larger.

    Where the mask is narrower than twice the width it fades faster, so that its middle stays at 1. It does not fade
    at the edge of the image.
    mask: (B, 1, H, W) in [0, 1]. Returns the same shape and range.
    """
    inside = (mask > 0).to(mask)
    depth = rest = inside  # pixels to the nearest one outside, at most `width`
    for _ in range(width - 1):
        rest = -F.max_pool2d(F.pad(-rest, (1, 1, 1, 1), value=-1.0), 3, 1)
        depth = depth + rest
    reach = F.max_pool2d(depth, (2 * width + 1, 1), 1, (width, 0))
    reach = F.max_pool2d(reach, (1, 2 * width + 1), 1, (0, width))
    share = depth / reach.clamp(min=1)
    return mask * share * share * (3 - 2 * share) if width else mask
