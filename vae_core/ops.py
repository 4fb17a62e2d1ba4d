"""The few operations autoencoders are made of.

A network is a tuple of ops, and an op is a plain callable from tensor to tensor. What makes an op more
than a function is that it says how far it looks; that one declaration is all an executor needs to run
a network whole, in bands of rows, or to plan either.

    pointwise      a bare function or module    each pixel on its own
    Window         .rows, .span, .step          a few neighbouring rows
    nn.GroupNorm                                two numbers per group, over the whole image
    Global         (attention)                  every pixel at once
    Residual       .body, .skip                 two paths, added
    Beside         .side, .join                 a second image, made of the run's input, joined row by row

Shapes are (B, C, H, W), of a clip (T, C, H, W), see `temporal`; rows are dim -2.
Activations write in place when no gradient is wanted, so
they must follow an op that makes a new tensor.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, NamedTuple, TypeVar, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Op = Union[Callable[[Tensor], Tensor], "Residual", "Beside"]
Ops = tuple[Op, ...]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Residual:
    """body(x) + skip(x); an empty skip is x itself."""

    body: Ops
    skip: Ops = ()


@dataclass(frozen=True, eq=False)
class Beside:
    """join(x, side(what the run was given)): for networks that look at their input again on the way.

    What the side makes has as many rows and columns as x. A run can be given another image to look at than its input.
    join may write to x, so a Beside must follow an op that makes a new tensor.
    """

    side: Ops
    join: Callable[[Tensor, Tensor], Tensor]


def chain(*parts: Any) -> Ops:
    """The ops of parts that follow one another: a block gives its own ops, an op itself, None nothing."""
    ops: list[Op] = []
    for part in parts:
        if part is not None:
            ops += part.ops() if hasattr(part, "ops") else (part,)
    return tuple(ops)


def leaves(ops: Ops) -> Iterator[Op]:
    """Every leaf op, in the order of a run."""
    for op in ops:
        if isinstance(op, Residual):
            yield from leaves(op.skip)
            yield from leaves(op.body)
        elif isinstance(op, Beside):
            yield from leaves(op.side)
        else:
            yield op


def has_besides(ops: Ops) -> bool:
    """Does any of these ops look at a second image?"""
    return any(isinstance(op, Beside) or (isinstance(op, Residual) and has_besides(op.body + op.skip)) for op in ops)


def keeps_scale(op: T) -> T:
    """Marks ops, by their class or function: of numbers twice as large they make numbers twice as large."""
    setattr(op, "keeps_scale", True)  # noqa: B010, a type has no such attribute to a type checker
    return op


class Window:
    """An op that reads `span` rows to make one, and moves `step` rows on for the next one.

    At the borders of the image it sees `rows` = (above, below) rows that are not there.
    """

    rows: tuple[int, int] = (0, 0)
    span: int = 1
    step: int = 1
    makes: int = 1  # rows of the result for each step
    growth: float = 1.0  # numbers of the result for each that is read
    border = "constant"  # beyond the borders of the image: zeros, or with "replicate" the nearest pixel again

    def steps(self, rows: int) -> int:
        """How often it moves on over so many rows, those above and below counted."""
        return max(0, (rows - self.span) // self.step + 1)

    def within(self, x: Tensor) -> Tensor:
        """The result for rows that bring all they need above and below with them: nothing is added there."""
        raise NotImplementedError


class Conv2d(Window, nn.Conv2d):
    """Padded convolution. (B, c_in, H, W) -> (B, c_out, H', W')

    `pad` = (before, after) zeros in both directions; by default as many on both sides as keep the size.
    LDM's downsampling pads (0, 1): one row below and one column on the right.
    `groups`: channels see only those of their own group.
    `border`: 'replicate' for the outermost pixels again instead of zeros, as many on both sides.
    """

    def __init__(self, c_in: int, c_out: int, kernel_size: int = 3, *, stride: int = 1,
                 pad: tuple[int, int] | None = None, groups: int = 1, bias: bool = True,
                 border: Literal["constant", "replicate"] = "constant"):  # fmt: skip
        self.rows = before, after = pad or (kernel_size // 2, kernel_size // 2)
        self.border = border
        self.span, self.step, self.growth = kernel_size, stride, c_out / c_in / stride**2
        even = before if before == after else 0  # what the backend pads without a copy
        nn.Conv2d.__init__(
            self,
            c_in,
            c_out,
            kernel_size,
            stride,
            even,
            groups=groups,
            bias=bias,
            padding_mode="zeros" if border == "constant" else border,
        )

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:  # on the meta device there is nothing to draw numbers for, but it takes its time
            super().reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        before, after = self.rows
        return super().forward(input if before == after else F.pad(input, (before, after) * 2))

    def within(self, x: Tensor) -> Tensor:
        before, after = self.rows
        if self.border != "constant":
            x, before = F.pad(x, (before, after, 0, 0), mode=self.border), 0
        elif before != after:
            x, before = F.pad(x, (before, after)), 0
        return F.conv2d(x, self.weight, self.bias, self.stride, (0, before), groups=self.groups)


class DoublingConv(Window):
    """`Upsample2x` and the 3 x 3 convolution after it, in one. (B, c_in, H, W) -> (B, c_out, 2H, 2W)

    Two of three taps meet the same pixel of the small image. Summed beforehand, they are a transposed convolution of
    4 x 4 taps and stride 2: the same result with 4/9 of the multiplications, and the doubled image never exists.
    """

    rows, span, makes = (1, 1), 3, 2

    def __init__(self, conv: Conv2d):
        # Row j of the doubled image is row j // 2 of the small one.
        taps = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
        exact = torch.promote_types(conv.weight.dtype, torch.float32)
        taps = taps.to(conv.weight.device, exact)
        weight = torch.einsum("ak,oikl,bl->ioab", taps, conv.weight.to(exact), taps)
        self.growth = 4 * conv.growth
        self.conv, self.weight, self.bias = conv, weight.to(conv.weight.dtype).contiguous(), conv.bias
        self.made_bytes = self.weight.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)

    def within(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=(3, 1))


class Global(nn.Module):
    """An op that must see the whole image: each part of it asks what is remembered of all of it."""

    grows = True  # does what is remembered grow with the image?
    over_frames = False  # does it see other frames of a clip?
    looks_back = False  # and of these only the ones before: what is remembered of them serves those after
    last = ""  # the name of the convolution that makes its result, if one does

    def remember(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the others need to know of these pixels. Tensors (B, heads, pixels, C)."""
        raise NotImplementedError

    def gathered(self, parts: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What is remembered of several parts, as if they were one."""
        return tuple(torch.cat(each, -2) for each in zip(*parts, strict=True))

    def recall(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        """The result for these pixels, from what is remembered of all."""
        raise NotImplementedError

    def alone(self) -> Ops:
        """What it comes to on images, that is on clips of one frame."""
        return (self,)

    def work(self, made: Tensor) -> float:
        """Multiplications for what was made: of attention, and its four projections."""
        return made.numel() * (4 * made.shape[1] + 2 * made.shape[-1] * made.shape[-2])

    def forward(self, x: Tensor) -> Tensor:
        return self.recall(x, self.remember(x))


class Sums(Global):
    """A Global for which sums over all pixels are enough to remember: the parts' are added."""

    grows = False

    def gathered(self, parts: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        return reduce(lambda known, part: tuple(a + b for a, b in zip(known, part, strict=True)), parts)


@keeps_scale
class Upsample2x(nn.Module):
    """Nearest neighbour, twice the rows and columns. Pointwise. (B, C, H, W) -> (B, C, 2H, 2W)"""

    growth, makes = 4.0, 2

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


@keeps_scale
class EveryNth(Window):
    """The first pixel of n x n, as nearest neighbour keeps it. (B, C, nH, nW) -> (B, C, H, W)"""

    def __init__(self, n: int):
        self.span = self.step = n
        self.growth = 1 / n**2

    def __call__(self, x: Tensor) -> Tensor:
        return x[..., :: self.step, :: self.step]

    def within(self, x: Tensor) -> Tensor:
        return self(x)


@keeps_scale
class PixelUnshuffle(Window):
    """n x n pixels become one of n^2 times the channels. (B, C, nH, nW) -> (B, n^2 C, H, W)

    order: of the new channels, from the slowest: 'cyx' is torch's (channel, row, column).
    """

    def __init__(self, order: str = "cyx", n: int = 2):
        self.order = (0, 1, 3, *({"y": 2, "x": 4, "c": 5}[axis] for axis in order))
        self.span = self.step = n

    def __call__(self, x: Tensor) -> Tensor:
        (b, c, h, w), n = x.shape, self.span
        x = x.permute(0, 2, 3, 1).reshape(b, h // n, n, w // n, n, c)
        return x.permute(self.order).reshape(b, h // n, w // n, n**2 * c).permute(0, 3, 1, 2)

    def within(self, x: Tensor) -> Tensor:
        return self(x)


@keeps_scale
class PixelShuffle:
    """The way back. Pointwise. (B, n^2 C, H, W) -> (B, C, nH, nW)"""

    def __init__(self, order: str = "cyx", n: int = 2):
        self.order, self.n = order, n
        self.makes = n  # rows of each

    def __call__(self, x: Tensor) -> Tensor:
        (b, c, h, w), n = x.shape, self.n
        x = x.permute(0, 2, 3, 1).reshape(b, h, w, *(c // n**2 if axis == "c" else n for axis in self.order))
        row, column, channel = (3 + self.order.index(axis) for axis in "yxc")
        return x.permute(0, 1, row, 2, column, channel).reshape(b, n * h, n * w, c // n**2).permute(0, 3, 1, 2)


@keeps_scale
class RepeatChannels(NamedTuple):
    """Each channel so many times in a row. Pointwise. (B, C, H, W) -> (B, times * C, H, W)"""

    times: int

    @property
    def growth(self) -> int:
        return self.times

    def __call__(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = x.permute(0, 2, 3, 1)[..., None].expand(b, h, w, c, self.times)
        return x.reshape(b, h, w, c * self.times).permute(0, 3, 1, 2)


@keeps_scale
class MeanChannels(NamedTuple):
    """The mean of every `group` channels in a row. Pointwise. (B, group * C, H, W) -> (B, C, H, W)"""

    group: int

    def __call__(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).unflatten(-1, (-1, self.group)).mean(-1).permute(0, 3, 1, 2)


class Affine(NamedTuple):
    """x * scale + shift. Pointwise."""

    scale: float
    shift: float

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def silu(x: Tensor) -> Tensor:
    return F.silu(x, inplace=not torch.is_grad_enabled())


def relu(x: Tensor) -> Tensor:
    return F.relu(x, inplace=not torch.is_grad_enabled())


def times(x: Tensor, y: Tensor) -> Tensor:
    """x * y, for a Beside."""
    return x * y if torch.is_grad_enabled() else x.mul_(y)


def plus(x: Tensor, y: Tensor) -> Tensor:
    """x + y, for a Beside."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


def soft_clamp(x: Tensor) -> Tensor:
    """tanh(x / 3) * 3: what TAESD does to a latent first, so that outliers keep their colour."""
    return torch.tanh(x / 3) * 3
