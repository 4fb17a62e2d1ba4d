"""Ops that move numbers between channels and pixels, and functions of each number. Shapes are (B, C, H, W).

Activations write in place when no gradient is wanted, so they must follow an op that makes a new tensor.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .rows import Window
from .tree import keeps_scale


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

    def apply_unpadded(self, x: Tensor) -> Tensor:
        return self(x)


@keeps_scale
class PixelShuffle:
    """The way back. Pointwise. (B, n^2 C, H, W) -> (B, C, nH, nW)"""

    def __init__(self, order: str = "cyx", n: int = 2):
        self.order, self.n = order, n
        self.rows_per_step = n  # rows of each

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
    """x * y, for a SideInput."""
    return x * y if torch.is_grad_enabled() else x.mul_(y)


def plus(x: Tensor, y: Tensor) -> Tensor:
    """x + y, for a SideInput."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


def soft_clamp(x: Tensor) -> Tensor:
    """tanh(x / 3) * 3: what TAESD does to a latent first, so that outliers keep their colour."""
    return torch.tanh(x / 3) * 3
