"""Group norms by their statistics: gathered band by band or of whole images, and applied as a batch norm.

A batch norm keeps channels last on every device. On CUDA torch's own group norm does not (pytorch #111824): it makes a
copy of another layout, and so does every convolution after it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...dtypes import at_least_fp32
from ...ops import GroupNormOverFrames


class Moments(NamedTuple):
    """For every frame and channel: how many numbers, their mean, the sum of their squared deviations from it.

    mean, squares: (T, C), T = 1 for an image; in fp32 at least.
    """

    n: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Moments":
        """x: (T, C, rows, W), each frame by itself."""
        if x.is_meta:
            return cls(x.shape[-1] * x.shape[-2], *x.new_empty(2, *x.shape[:2], dtype=at_least_fp32(x.dtype)))
        frames = [cls.of_clip(frame) for frame in x.split(1)]
        if len(frames) == 1:
            return frames[0]
        return cls(frames[0].n, torch.cat([f.mean for f in frames]), torch.cat([f.squares for f in frames]))

    @classmethod
    def of_clip(cls, x: Tensor) -> "Moments":
        """x: (T, C, rows, W), all frames together. By torch's statistics of a batch norm: two passes in one call,
        shifted, in fp32.
        """
        n = x.numel() // x.shape[1]
        known = torch.zeros(x.shape[1], dtype=at_least_fp32(x.dtype), device=x.device)  # gives the result its dtype
        mean, var = torch.batch_norm_update_stats(x, known, known, 0.0)
        return cls(n, mean[None], var[None] * n)

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


def normalize(op: nn.GroupNorm, mean: Tensor, var: Tensor, x: Tensor) -> Tensor:
    """The group norm of x (T, C, n, W), in its dtype, by the mean and the variance of each channel's group.

    mean, var: (1, C), or (T, C) with each frame's own; as `Moments.of_groups` gives them.
    """
    if len(mean) == 1:
        return _normalize(op, mean[0], var[0], x)
    return torch.cat([_normalize(op, *args) for args in zip(mean, var, x.split(1), strict=True)])


def normalize_whole(op: nn.GroupNorm, x: Tensor) -> Tensor:
    """The group norm of whole images (B, C, H, W), or of the frames of a clip (T, C, H, W), in their dtype."""
    moments = Moments.of_clip(x) if isinstance(op, GroupNormOverFrames) else Moments.of(x)
    return normalize(op, *moments.of_groups(op.num_groups), x)


def find_group_moments(op: nn.GroupNorm, moments: Moments) -> tuple[Tensor, Tensor]:
    """For each channel the mean and variance of its group: of each frame, or of all frames if the op wants that."""
    moments = moments.pool_frames() if isinstance(op, GroupNormOverFrames) else moments
    return moments.of_groups(op.num_groups)


def _normalize(op: nn.GroupNorm, mean: Tensor, var: Tensor, x: Tensor) -> Tensor:
    weight, bias = (None if p is None else p.to(mean.dtype) for p in (op.weight, op.bias))
    return F.batch_norm(x, mean, var, weight, bias, eps=op.eps)


def add_band(known: Moments | None, band: Tensor) -> Moments:
    """The moments of all bands so far and of this one, (T, C, n, W)."""
    found = Moments.of(band)
    return found if known is None else known.merge(found)
