"""Convolutions and attention in half precision on a CPU that computes them faster in fp32.

What is read and what is made stay in half precision. Some rows at a time are widened to fp32, computed, and rounded
once: a backend's own half precision is no more exact, since it adds up in fp32 too.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..devices import processor
from .channel_parts import split_channels
from .layouts import TAPS_IN_CHANNELS_LAST, order_taps, suit_transposed

AT_ONCE = 4 * 2**20  # bytes in fp32 that are read at once, or made
WEIGHTS = 4 * 2**20  # bytes in fp32 of weights at once


class Steps(NamedTuple):
    """How an op walks over rows: each step reads `span` of them, moves on by `by`, and makes `makes`.

    around: rows of zeros that it reads above the image, and below it
    """

    span: int
    by: int = 1
    makes: int = 1
    around: int = 0

    def count(self, n: int, around: int | None = None) -> int:
        """Rows, or columns with so many zeros around them, that are made of n."""
        around = self.around if around is None else around
        return ((n + 2 * around - self.span) // self.by + 1) * self.makes


def widens(x: Tensor) -> bool:
    """Is what is computed of x to be computed in fp32? Not where gradients are wanted, which would keep it in fp32."""
    if x.device.type != "cpu" or x.dtype.itemsize != 2 or torch.is_grad_enabled():
        return False
    return processor.is_faster_in_fp32(x.dtype)


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sequence[int] | int = 1,
    padding: Sequence[int] | int = 0, groups: int = 1,
) -> Tensor:  # fmt: skip
    """As torch's. (B, C, H, W) -> (B, C', H', W')"""
    if not widens(x):
        return F.conv2d(_say_layout(x), weight, bias, stride, padding, groups=groups)
    (down, _), (above, beside) = _pair(stride), _pair(padding)
    steps = Steps(weight.shape[-1], down, around=above)
    y = make_room(x, (len(x), len(weight), steps.count(x.shape[-2]), steps.count(x.shape[-1], beside)))
    for part in split_channels(len(weight), weight.numel(), WEIGHTS if groups == 1 else None):
        own, shift = as_dtype(weight[part], None if bias is None else bias[part], torch.float32)
        how: dict[str, Any] = {"stride": stride, "padding": (0, beside), "groups": groups}
        widen_rows(x, y[:, part], steps, partial(F.conv2d, weight=own, bias=shift, **how))
    return y


def _say_layout(x: Tensor) -> Tensor:
    """The same numbers. Of a single image, as of one frame that is a view, the stride to the next may be any.

    Torch goes by it: it would take channels last for another layout, and make its result in that.
    """
    if len(x) != 1 or x.stride(0) >= x.numel():
        return x
    return x.as_strided(x.shape, (x.numel(), *x.stride()[1:]))


def conv_transpose2d(x: Tensor, weight: Tensor, bias: Tensor | None, *, around: int, unpadded: bool = False) -> Tensor:
    """As torch's of stride 2, for weights (C, C', n, n) with n = 2 + 2 * around, which make twice the rows and columns.

    unpadded: x has `around` rows more above and below. (B, C, H, W) -> (B, C', 2H, 2W)
    """
    beyond = 3 * around  # what only rows beyond x would complete
    if not widens(x):
        return F.conv_transpose2d(suit_transposed(x), weight, bias, 2, (beyond if unpadded else around, around))
    return widen_transposed(
        x, lambda part: as_dtype(weight[:, part], None, torch.float32)[0], weight.shape[:2], bias, around, unpadded
    )


def widen_transposed(
    x: Tensor, make_weight: Callable[[slice], Tensor], channels: Sequence[int], bias: Tensor | None, around: int,
    unpadded: bool = False,
) -> Tensor:  # fmt: skip
    """As `conv_transpose2d`, in fp32 some rows at a time and rounded once, for x in half precision on a CPU.

    make_weight  of some channels of the result, (C, n, k, k) in fp32; it is asked once for each of them
    channels     (C, C')
    """
    steps = Steps(1 + 2 * around, makes=2, around=0 if unpadded else around)
    y = make_room(x, (len(x), channels[1], steps.count(x.shape[-2]), 2 * x.shape[-1]))
    how: dict[str, Any] = {"stride": 2, "padding": (3 * around, around)}
    for part in split_channels(channels[1], math.prod(channels) * (2 + 2 * around) ** 2, WEIGHTS):
        shift = None if bias is None else bias[part].float()
        widen_rows(x, y[:, part], steps, partial(F.conv_transpose2d, weight=make_weight(part), bias=shift, **how))
    return y


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As torch's. (..., C) -> (..., C')"""
    if not widens(x):
        return F.linear(x, weight, bias)
    y = x.new_empty(*x.shape[:-1], len(weight))
    wide = x.float()
    for part in split_channels(len(weight), weight.numel(), WEIGHTS):
        own = as_dtype(weight[part], None if bias is None else bias[part], torch.float32)
        y.narrow(-1, part.start, part.stop - part.start).copy_(F.linear(wide, *own))
    return y


def as_dtype(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """A weight and its bias for a call on images of this dtype: as they are if they are of it already."""
    if weight.dtype is not dtype:  # laid out for the backend, which would copy it again
        last = weight.ndim == 4 and order_taps(weight.device) is TAPS_IN_CHANNELS_LAST
        layout = torch.channels_last if last else torch.preserve_format
        weight = weight.to(dtype, memory_format=layout)
    return weight, None if bias is None else bias.to(dtype)


def widen_rows(x: Tensor, place: Tensor, steps: Steps, compute: Callable[[Tensor], Tensor]) -> None:
    """Write to place, (B', C', H', W'), what an op makes of x, (B, C, H, W), in fp32 of some rows at a time.

    place is there first: if it were made of what goes again, it would come to lie behind it and leave a gap.

    compute: the op on rows (B, C, n, W) in fp32, which pads none of them
    """
    total = place.shape[-2] // steps.makes
    at_once = count_at_once(total, x.numel() // x.shape[-2] * steps.by, place.numel() // total)
    for first in range(0, total, at_once):
        n = min(at_once, total - first)
        place.narrow(-2, first * steps.makes, n * steps.makes).copy_(compute(_read(x, steps, first, n)))


def make_room(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """For a result like x, of this shape."""
    return torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)


def count_at_once(total: int, read: int, made: int) -> int:
    """Of so many steps: how many at a time, in parts as equal as they can be. read, made: numbers in one step."""
    parts = -(-total // max(1, AT_ONCE // max(1, 4 * max(read, made))))
    return -(-total // max(1, parts))


def _read(x: Tensor, steps: Steps, first: int, n: int) -> Tensor:
    """What n steps read from the first of them on, zeros beyond the image included."""
    top = first * steps.by - steps.around
    rows = (n - 1) * steps.by + steps.span
    inside = x[..., max(0, top) : top + rows, :]
    above = max(0, -top)
    wide = torch.empty((*x.shape[:2], rows, x.shape[-1]), dtype=torch.float32, memory_format=torch.channels_last)
    wide[..., :above, :].zero_()
    wide.narrow(-2, above, inside.shape[-2]).copy_(inside)
    wide[..., above + inside.shape[-2] :, :].zero_()
    return wide


def _pair(n: Sequence[int] | int) -> tuple[int, int]:
    return (n, n) if isinstance(n, int) else (n[0], n[1])
