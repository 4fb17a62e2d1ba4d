"""Ops that move numbers between channels and pixels, and functions of each number. Shapes are (B, C, H, W).

All give the dtype they are given. Activations and joins can be applied in place, where the executor allows it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .rows import Window
from .tree import Join, Op


class PixelUnshuffle(Window):
    """n x n pixels become one of n^2 times the channels. (B, C, nH, nW) -> (B, n^2 C, H, W)

    order: of the new channels, from the slowest: 'cyx' is torch's (channel, row, column).
    """

    keeps_scale = True

    def __init__(self, order: str = "cyx", n: int = 2):
        self.order = (0, 1, 3, *({"y": 2, "x": 4, "c": 5}[axis] for axis in order))
        self.span = self.step = n

    def __call__(self, x: Tensor) -> Tensor:
        (b, c, h, w), n = x.shape, self.span
        x = x.permute(0, 2, 3, 1).reshape(b, h // n, n, w // n, n, c)
        return x.permute(self.order).reshape(b, h // n, w // n, n**2 * c).permute(0, 3, 1, 2)

    def apply_unpadded(self, x: Tensor) -> Tensor:
        return self(x)


class PixelShuffle(Op):
    """The inverse of PixelUnshuffle. Pointwise. (B, n^2 C, H, W) -> (B, C, nH, nW)"""

    keeps_scale = True

    def __init__(self, order: str = "cyx", n: int = 2):
        self.order, self.n = order, n
        self.rows_per_step = n

    def __call__(self, x: Tensor) -> Tensor:
        (b, c, h, w), n = x.shape, self.n
        x = x.permute(0, 2, 3, 1).reshape(b, h, w, *(c // n**2 if axis == "c" else n for axis in self.order))
        row, column, channel = (3 + self.order.index(axis) for axis in "yxc")
        return x.permute(0, 1, row, 2, column, channel).reshape(b, n * h, n * w, c // n**2).permute(0, 3, 1, 2)


class RepeatChannels(Op):
    """Each channel so many times in a row. Pointwise. (B, C, H, W) -> (B, times * C, H, W)"""

    keeps_scale = True

    def __init__(self, times: int):
        self.times, self.growth = times, float(times)

    def __call__(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = x.permute(0, 2, 3, 1)[..., None].expand(b, h, w, c, self.times)
        return x.reshape(b, h, w, c * self.times).permute(0, 3, 1, 2)


class TileChannels(Op):
    """All channels in a row, so many times over. Pointwise. (B, C, H, W) -> (B, times * C, H, W)"""

    keeps_scale = True

    def __init__(self, times: int):
        self.times, self.growth = times, float(times)

    def __call__(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).repeat(1, 1, 1, self.times).permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class MeanChannels(Op):
    """The mean of every `group` channels in a row. Pointwise. (B, group * C, H, W) -> (B, C, H, W)"""

    group: int
    keeps_scale = True

    def __call__(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).unflatten(-1, (-1, self.group)).mean(-1).permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class Affine(Op):
    """x * scale + shift. Pointwise. (B, C, H, W) -> same"""

    scale: float
    shift: float

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class Activation(Op):
    """A function of each number that torch can compute in place. Pointwise. (B, C, H, W) -> same

    function: as torch.nn.functional.relu, with an argument `inplace`.
    """

    in_place = True

    def __init__(self, function: Callable[..., Tensor], name: str):
        self.function, self.name = function, name

    @property
    def label(self) -> str:
        return self.name

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def apply_in_place(self, x: Tensor) -> Tensor:
        return self.function(x, inplace=True)


class Times(Join):
    """x * y"""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y

    def apply_in_place(self, x: Tensor, y: Tensor) -> Tensor:
        return x.mul_(y)


class Plus(Join):
    """x + y"""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def apply_in_place(self, x: Tensor, y: Tensor) -> Tensor:
        return x.add_(y)


silu, relu = Activation(F.silu, "silu"), Activation(F.relu, "relu")
times, plus = Times(), Plus()


def soft_clamp(x: Tensor) -> Tensor:
    """tanh(x / 3) * 3: what TAESD does to a latent first, so that outliers keep their colour. (B, C, H, W) -> same"""
    return torch.tanh(x / 3) * 3
