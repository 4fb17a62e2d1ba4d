"""Ops that read a few neighbouring rows, and the doubling of rows. Shapes are (B, C, H, W)."""

from collections.abc import Callable, Sequence
from copy import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..devices.dtypes import at_least_fp32
from ..devices.numerics import pad
from ..errors import BadRequest
from .layouts import reads_channels_last
from .tree import Op
from .widening import conv2d, conv_transpose2d, widen_transposed, widens

CHANNELS_LAST = (0, 2, 3, 1)
ONE_AXIS = {"circular x": ("circular", "constant"), "circular y": ("constant", "circular")}  # of columns, of rows
AT_ONCE = 64  # channels whose taps are summed at once on a CPU: all would leave gaps of twice their size in its heap
WRAPPED = ("circular", "circular y")  # borders whose rows above the image are those at its bottom


def lay_out_weight(weight: Tensor, order: Sequence[int]) -> None:
    """Lay out the dimensions of a weight in memory, the outermost first. It stays the same tensor.

    The next to read it may be another stream of the device, so the copy is waited for.
    """
    if not lies_so(weight, order):
        back = [order.index(i) for i in range(len(order))]
        with torch.inference_mode(weight.is_inference()):  # as it was loaded: torch refuses views of a mixture
            made = weight.permute(*order).contiguous().permute(*back)
            if weight.device.type in ("cuda", "xpu"):
                getattr(torch, weight.device.type).current_stream(weight.device).synchronize()
            weight.data = made


def lies_so(weight: Tensor, order: Sequence[int]) -> bool:
    """Is this the order of its dimensions in memory, the outermost first?"""
    return weight.permute(*order).is_contiguous()


def join(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """`torch.cat` of parts (B, C, H, W), in channels last however they lie. dim: 0 for images, 1 for channels.

    torch would go by the strides of the parts, which say nothing of single images and of what is repeated.
    """
    return torch.cat([x.permute(0, 2, 3, 1) for x in parts], 3 if dim else 0).permute(0, 3, 1, 2)


def pad_borders(x: Tensor, sides: Sequence[int], border: str) -> Tensor:
    """(B, C, H, W) with more columns left and right and rows above and below, in channels last.

    border: see Window. Raises BadRequest for an image too small to be mirrored.
    """
    if border == "constant":
        return F.pad(x, sides)
    if border in ONE_AXIS:
        columns, rows = ONE_AXIS[border]
        x = pad_borders(x, (*sides[:2], 0, 0), columns) if any(sides[:2]) else x
        return pad_borders(x, (0, 0, *sides[2:]), rows) if any(sides[2:]) else x
    if border == "reflect" and (max(sides[:2]) >= x.shape[-1] or max(sides[2:]) >= x.shape[-2]):
        raise BadRequest(
            f"{x.shape[-1]}x{x.shape[-2]} pixels inside the network are too few to be mirrored at their borders: use a "
            "larger image, or the border 'zeros'."
        )
    # With the channels as a third dimension, which gets nothing, torch cannot choose another layout.
    return pad(x.permute(0, 2, 3, 1)[:, None], (0, 0, *sides), border)[:, 0].permute(0, 3, 1, 2)


class Window(Op):
    """An op that reads `span` rows for each step, and moves on by `step` rows for the next one.

    rows    (above, below): rows beyond the borders of the image that it reads
    border  what it reads there, in torch's words: 'constant' for zeros, 'replicate' for the nearest pixel again,
            'reflect' for the image mirrored at its outermost pixels, 'circular' for what lies at the other side;
            'circular x' for that on the left and right only, and 'circular y' above and below, with zeros elsewhere
    """

    rows: tuple[int, int] = (0, 0)
    span: int = 1
    step: int = 1
    border: str = "constant"

    @property
    def wraps(self) -> bool:
        """Does it read above the image what lies at its bottom?"""
        return self.border in WRAPPED and self.rows != (0, 0)

    def steps(self, rows: int) -> int:
        """The number of steps over so many rows, those beyond the borders counted."""
        return max(0, (rows - self.span) // self.step + 1)

    def apply_unpadded(self, x: Tensor) -> Tensor:
        """The result for rows that include all that is read above and below. Columns are padded as in a whole run.

        (B, C, n, W) -> (B, C', steps(n) * rows_per_step, W')
        """
        raise NotImplementedError


class Blocks(Op):
    """An op on blocks of `block` rows, counted from the top of the image, none of which sees another.

    (B, C, H, W) -> (B, C', H, W). It is called on any number of whole blocks; only an image's last may have fewer rows.

    last_conv  the name of the submodule that makes its result, if that is a convolution
    """

    block: int = 1
    last_conv: str = ""


class Conv2d(Window, nn.Conv2d):
    """Padded convolution. (B, c_in, H, W) -> (B, c_out, H', W')

    `pad` = (before, after) zeros in both directions; by default as many on both sides as keep the size.
    LDM's downsampling pads (0, 1): one row below and one column on the right.
    `groups`: channels see only those of their own group.
    `border`: what is there instead of zeros, see Window; as many on both sides.
    `unrounded`: the weight before it was rounded to half precision, where that is kept (families/doubling.py).
    """

    unrounded: Tensor | None

    def __init__(self, c_in: int, c_out: int, kernel_size: int = 3, *, stride: int = 1,
                 pad: tuple[int, int] | None = None, groups: int = 1, bias: bool = True,
                 border: str = "constant"):  # fmt: skip
        self.rows = before, after = pad or (kernel_size // 2, kernel_size // 2)
        self.border = border
        self.span, self.step, self.growth = kernel_size, stride, c_out / c_in / stride**2
        even = before if before == after else 0  # what the backend pads without a copy
        nn.Conv2d.__init__(self, c_in, c_out, kernel_size, stride, even, groups=groups, bias=bias)
        self.register_buffer("unrounded", None, persistent=False)

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:  # on the meta device there is nothing to draw numbers for, but it takes its time
            super().reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        before, after = self.rows
        if self.border != "constant":
            padded = pad_borders(input, (before, after) * 2, self.border)
            return conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)
        if before != after:
            input, before = F.pad(input, (before, after) * 2), 0
        return conv2d(input, self.weight, self.bias, self.stride, before, self.groups)

    def apply_unpadded(self, x: Tensor) -> Tensor:
        before, after = self.rows
        if self.border != "constant":
            x, before = pad_borders(x, (before, after, 0, 0), self.border), 0
        elif before != after:
            x, before = F.pad(x, (before, after)), 0
        return conv2d(x, self.weight, self.bias, self.stride, (0, before), self.groups)


class DoublingConv(Window):
    """`Upsample2x` and the 3 x 3 convolution after it, in one. (B, c_in, H, W) -> (B, c_out, 2H, 2W)

    Two of three taps meet the same pixel of the small image. Summed beforehand, they are a transposed convolution of
    4 x 4 taps and stride 2: the same result with 4/9 of the multiplications, and the doubled image never exists.
    `weight`: the convolution's, perhaps with more digits; sums are in fp32 at least, and rounded once.
    """

    rows, span, rows_per_step = (1, 1), 3, 2

    def __init__(self, conv: Conv2d, weight: Tensor | None = None):
        weight = conv.weight if weight is None else weight
        self.original, self.weight, self.bias = conv, _sum_doubled(weight, conv.weight.dtype), conv.bias
        self.growth, self.temporary_bytes = 4 * conv.growth, self.weight.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        return conv_transpose2d(x, self.weight, self.bias, around=1)

    def apply_unpadded(self, x: Tensor) -> Tensor:
        return conv_transpose2d(x, self.weight, self.bias, around=1, unpadded=True)


class WidenedDoublingConv(DoublingConv):
    """The same where half precision is computed in fp32: taps are summed in fp32 too, and the sums never rounded.

    So they are as exact as the weight, whatever its dtype, and like the two ops this one rounds its result only.

    They are summed at each call, some channels of the result at a time. Kept for the run, those of an SD-class decoder
    would take 36 MiB, 3.6 times what the weights take, and save no time that could be measured.
    """

    def __init__(self, conv: Conv2d, weight: Tensor | None = None):
        self.original, self.weight, self.bias = conv, conv.weight if weight is None else weight, conv.bias
        self.growth, self.changes = 4 * conv.growth, ()
        c_out, c_in = self.weight.shape[:2]
        shown = self.weight.is_meta  # to a plan, which counts what `widen_transposed` takes for it
        self.sums = self.weight.new_empty((c_in, c_out, 4, 4), dtype=conv.weight.dtype) if shown else None

    def __call__(self, x: Tensor) -> Tensor:
        return self._convolve(x, False)

    def apply_unpadded(self, x: Tensor) -> Tensor:
        return self._convolve(x, True)

    def change(self, change: Callable[[Tensor], Tensor]) -> "WidenedDoublingConv":
        """One with a weight of its own: what `change` makes of this one's, number by number."""
        twin = copy(self)
        twin.changes = (*self.changes, change)
        return twin

    def _convolve(self, x: Tensor, unpadded: bool) -> Tensor:
        if self.sums is not None:
            return conv_transpose2d(x, self.sums, self.bias, around=1, unpadded=unpadded)
        c_out, c_in = self.weight.shape[:2]
        if widens(x):
            return widen_transposed(x, self._sum, (c_in, c_out), self.bias, 1, unpadded)
        bias = None if self.bias is None else self.bias.float()
        return conv_transpose2d(x.float(), self._sum(slice(None)), bias, around=1, unpadded=unpadded).to(x.dtype)

    @torch.no_grad()
    def _sum(self, part: slice) -> Tensor:
        """Of these channels of the result, (c_in, n, 4, 4) in fp32, laid out for the backend, which would copy it."""
        taps = self.weight[part].permute(1, 2, 3, 0)
        sums = _sum_taps(torch.empty(taps.shape, dtype=torch.float32).copy_(taps), 1)
        sums = _sum_taps(sums, 2).permute(0, 3, 1, 2)
        for change in self.changes:
            sums = change(sums)
        return sums


@torch.no_grad()
def _sum_doubled(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """(c_out, c_in, 3, 3) -> (c_in, c_out, 4, 4), in the layout that its device reads."""
    format = torch.channels_last if reads_channels_last(weight.device) else torch.contiguous_format
    made = weight.new_empty((*weight.shape[1::-1], 4, 4), dtype=dtype).contiguous(memory_format=format)
    n = AT_ONCE if weight.device.type == "cpu" else weight.shape[1]
    for part, place in zip(weight.split(n, 1), made.split(n), strict=True):
        part = part.to(at_least_fp32(part.dtype))
        place.copy_(_sum_taps(_sum_taps(part, 2), 3).transpose(0, 1))
    return made


def _sum_taps(weight: Tensor, dim: int) -> Tensor:
    """Three taps along this dimension -> four of half the step: row j of the doubled image is row j // 2 of the small.

    By sums, which a product of matrices would compute in TF32 where that is on, from a matrix that had to be copied.
    """
    a, b, c = weight.unbind(dim)
    made = weight.new_empty((*weight.shape[:dim], 4, *weight.shape[dim + 1 :]))
    for place, summed in zip(made.unbind(dim), ((c,), (b, c), (a, b), (a,)), strict=True):
        torch.add(*summed, out=place) if len(summed) > 1 else place.copy_(*summed)
    return made


class Upsample2x(Op, nn.Module):
    """Nearest neighbour, twice the rows and columns. Pointwise. (B, C, H, W) -> (B, C, 2H, 2W)"""

    keeps_scale = True
    growth, rows_per_step = 4.0, 2

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class EveryNth(Window):
    """The first pixel of n x n, as nearest neighbour keeps it. A view. (B, C, nH, nW) -> (B, C, H, W)"""

    keeps_scale = True

    def __init__(self, n: int):
        self.span = self.step = n
        self.growth = 1 / n**2

    def __call__(self, x: Tensor) -> Tensor:
        return x[..., :: self.step, :: self.step]

    def apply_unpadded(self, x: Tensor) -> Tensor:
        return self(x)
