"""How far from the exact result a right device may be. Everything follows from rounding; nothing is tuned.

e       the error that rounding alone makes, by `emulation`: one rounding for each op, on the same chart and weights.
        The largest of several draws: what goes in differs by less than a rounding, so all later roundings differ
4 : 1   a right device may round four times for our once: the product, the bias, what it sums in parts, what it stores.
        Errors that know nothing of one another add up as their squares, so four times as many are twice as large
K       the longest sum in the network: of products, or of the numbers whose mean a norm takes. Summed one after the
        other in fp32, the worst order there is, the i-th partial sum of K like terms is sqrt(i) large and is rounded
        to 2^-24 of it: together sqrt(K / 2) roundings' worth

    allowed = 2 e sqrt(1 + K/2 (u32 / u)^2)        u, u32: what one rounding changes, in the dtype and in fp32

For bf16 and fp16 this is 2 e to a percent, for fp32 some hundreds of e; TF32, which keeps 11 bits, is far beyond. All
errors are root mean squares, of the whole result and of each cell of the chart, by the standard deviation of the exact
result. A cell is allowed what rounding makes of it, or of the whole if that is more. If the exact result was itself
computed in fp32, its own share comes on top, as a square.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..families import Network
from .chart import COLUMNS, ROWS
from .emulation import DIGITS

CELLS = (ROWS, COLUMNS)
ROUNDINGS = 4  # of a device, for one of the emulation


@dataclass(frozen=True)
class Errors:
    """Of a result, or such as it may have; by the standard deviation of the exact one.

    squares  (H', W'), means over channels and frames, float64
    largest  of all numbers
    """

    squares: Tensor
    largest: float

    @property
    def rms(self) -> float:
        return self.squares.mean().sqrt().item()

    def pool(self, grid: tuple[int, int]) -> Tensor:
        """Root mean squares of so many rows and columns of parts: (rows, columns)."""
        return F.adaptive_avg_pool2d(self.squares[None], grid)[0].sqrt()


class Cause(NamedTuple):
    """Rounding in a dtype: the errors it made, in several draws, and how many times as large they may be."""

    draws: tuple[Errors, ...]
    factor: float

    @property
    def rms(self) -> float:
        return self.factor * max(one.rms for one in self.draws)

    def pool(self, grid: tuple[int, int]) -> Tensor:
        """As in `Errors`; each part is allowed what the whole is, at least."""
        parts = torch.stack([self.factor * one.pool(grid) for one in self.draws])
        return parts.amax(0).clamp(min=self.rms)


@dataclass(frozen=True)
class Allowed:
    """The errors that a right device may make at most, of all causes, which know nothing of one another."""

    causes: tuple[Cause, ...]

    @property
    def rms(self) -> float:
        return math.hypot(*(one.rms for one in self.causes))

    def pool(self, grid: tuple[int, int]) -> Tensor:
        """Root mean squares of so many rows and columns of parts: (rows, columns)."""
        return torch.stack([one.pool(grid) for one in self.causes]).square().sum(0).sqrt()

    def share(self, found: Errors, grid: tuple[int, int] = CELLS) -> Tensor:
        """The errors found in each part, as a fraction of those allowed; infinite where none are. (rows, columns)"""
        parts, most = found.pool(grid), self.pool(grid)
        return torch.where(parts > 0, parts / most, 0.0)

    def largest_share(self, found: Errors) -> float:
        """That of the worst cell, or of the whole if that is more; right is 1 at most."""
        whole = found.rms / self.rms if self.rms else math.inf
        return max(whole, self.share(found).amax().item()) if found.largest else 0.0


def measure_errors(result: Tensor, exact: Tensor) -> Errors:
    """result, exact: (B, C, H, W) or (B, C, T, H, W), of the same shape, finite."""
    error = (result.double() - exact.double()) / exact.double().std().clamp(min=torch.finfo(torch.float64).tiny)
    return Errors(error.square().flatten(0, -3).mean(0), error.abs().amax().item())


def longest_sum(network: Network, pixels: int) -> int:
    """Numbers at most that are summed for one: products of a convolution, or those that a group norm takes together.

    pixels: of the image, or of all frames of the clip. Where networks are finest they are narrowest, and their norms
    sum most.
    """
    products = [p[0].numel() for p in network.parameters() if p.ndim > 1]
    widths = [norm.num_channels // norm.num_groups for norm in network.modules() if isinstance(norm, nn.GroupNorm)]
    return max([1, *products, *([min(widths) * pixels] if widths else [])])


def factor_of(dtype: torch.dtype, terms: int) -> float:
    """By how much a right device may exceed the errors of rounding. terms: the longest sum."""
    sums = terms / 2 * 4.0 ** (DIGITS[dtype] - DIGITS[torch.float32])
    return math.sqrt(ROUNDINGS * (1 + sums))
