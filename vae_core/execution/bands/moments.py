"""Statistics of an image for its group norms, gathered band by band."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...dtypes import at_least_fp32


class Moments(NamedTuple):
    """For every frame and channel: how many numbers, their mean, the sum of their squared deviations from it.

    mean, squares: (T, C), T = 1 for an image; in fp32 at least.
    """

    n: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Moments":
        """x: (T, C, rows, W). By torch's statistics of a batch norm: two passes in one call, shifted, in fp32."""
        exact = at_least_fp32(x.dtype)
        mean, var = (torch.zeros(x.shape[:2], dtype=exact, device=x.device) for _ in range(2))
        for i in range(0 if x.is_meta else len(x)):
            mean[i], var[i] = torch.batch_norm_update_stats(x[i : i + 1], mean[i], var[i], 0.0)
        n = x.shape[-1] * x.shape[-2]
        return cls(n, mean, var * n)

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both together.

        Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
        """
        n, apart = self.n + other.n, other.mean - self.mean
        mean = self.mean + apart * (other.n / n)
        return Moments(n, mean, self.squares + other.squares + apart**2 * (self.n * other.n / n))

    def pool_frames(self) -> "Moments":
        """The moments of all frames together, (1, C)."""
        mean = self.mean.mean(0, keepdim=True)
        squares = self.squares.sum(0, keepdim=True) + self.n * (self.mean - mean).square().sum(0, keepdim=True)
        return Moments(self.n * len(self.mean), mean, squares)

    def of_groups(self, groups: int) -> tuple[Tensor, Tensor]:
        """For each channel the mean and variance of its group: (T, C), (T, C), in fp32 at least."""
        means, squares = (t.reshape(len(t), groups, -1) for t in (self.mean, self.squares))
        mean = means.mean(-1, keepdim=True)
        var = squares.mean(-1, keepdim=True) / self.n + (means - mean).square().mean(-1, keepdim=True)
        return tuple(t.expand_as(means).flatten(1).contiguous() for t in (mean, var))  # type: ignore[return-value]


def add_band(known: Moments | None, band: Tensor) -> Moments:
    """The moments of all bands so far and of this one, (T, C, n, W)."""
    found = Moments.of(band)
    return found if known is None else known.merge(found)
