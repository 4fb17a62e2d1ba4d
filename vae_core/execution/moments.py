"""What a group norm must know of a picture, gathered band by band."""

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Of every channel: how many numbers, their mean, the sum of their squared deviations from it. fp32 or better."""

    n: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Moments":
        """x: (1, C, rows, W). Torch's own statistics of a batch norm: two passes in one call, shifted, in fp32."""
        exact = torch.promote_types(x.dtype, torch.float32)
        mean, var = (torch.zeros(x.shape[1], dtype=exact, device=x.device) for _ in range(2))
        if not x.is_meta:
            mean, var = torch.batch_norm_update_stats(x, mean, var, 0.0)
        n = x.shape[-1] * x.shape[-2]
        return cls(n, mean, var * n)

    def merged(self, other: "Moments") -> "Moments":
        """Of both together (Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for variances")."""
        n, apart = self.n + other.n, other.mean - self.mean
        mean = self.mean + apart * (other.n / n)
        return Moments(n, mean, self.squares + other.squares + apart**2 * (self.n * other.n / n))

    def of_groups(self, groups: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of the group each channel is in: (C,), (C,)"""
        means, squares = (t.reshape(groups, -1) for t in (self.mean, self.squares))
        mean = means.mean(1, keepdim=True)
        var = squares.mean(1, keepdim=True) / self.n + (means - mean).square().mean(1, keepdim=True)
        return tuple(t.expand_as(means).reshape(-1).contiguous() for t in (mean, var))  # type: ignore[return-value]


def added(known: Moments | None, band: Tensor) -> Moments:
    """Of all bands so far and this one."""
    found = Moments.of(band)
    return found if known is None else known.merged(found)
