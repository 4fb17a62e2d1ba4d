"""Group norms by their statistics: gathered band by band or of whole images, by kernels or by torch's batch norm."""

from typing import NamedTuple

from torch import Tensor, nn

from ... import kernels
from ...ops import GroupNormOverFrames, GroupNormSilu


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
        return cls(x.shape[-1] * x.shape[-2], *kernels.find_moments(x))

    @classmethod
    def of_clip(cls, x: Tensor) -> "Moments":
        """x: (T, C, rows, W), all frames together: one image, in which they lie one below the other."""
        t, c, h, w = x.shape
        if x.is_meta:  # which does not lie in channels last, so that it would be copied
            return cls.of(x[:1])._replace(n=t * h * w)
        return cls.of(x.permute(0, 2, 3, 1).reshape(1, t * h, w, c).permute(0, 3, 1, 2))

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both together.

        Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
        """
        if self.mean.is_meta:  # no numbers to merge
            return self._replace(n=self.n + other.n)
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
        if self.mean.is_meta:  # no numbers to put together
            return self.mean, self.squares
        means, squares = (t.reshape(len(t), groups, -1) for t in (self.mean, self.squares))
        mean = means.mean(-1, keepdim=True)
        var = squares.mean(-1, keepdim=True) / self.n + (means - mean).square().mean(-1, keepdim=True)
        return tuple(t.expand_as(means).flatten(1).contiguous() for t in (mean, var))  # type: ignore[return-value]


def normalize(op: nn.GroupNorm, mean: Tensor, var: Tensor, x: Tensor) -> Tensor:
    """The group norm of x (T, C, n, W), in its dtype, by the mean and the variance of each channel's group.

    mean, var: (1, C), or (T, C) with each frame's own; as `Moments.of_groups` gives them.
    """
    return kernels.normalize(x, mean, var, op.weight, op.bias, op.eps, isinstance(op, GroupNormSilu))


def normalize_whole(op: nn.GroupNorm, x: Tensor) -> Tensor:
    """The group norm of whole images (B, C, H, W), or of the frames of a clip (T, C, H, W), in their dtype."""
    moments = Moments.of_clip(x) if isinstance(op, GroupNormOverFrames) else Moments.of(x)
    return normalize(op, *moments.of_groups(op.num_groups), x)


def find_group_moments(op: nn.GroupNorm, moments: Moments) -> tuple[Tensor, Tensor]:
    """For each channel the mean and variance of its group: of each frame, or of all frames if the op wants that."""
    moments = moments.pool_frames() if isinstance(op, GroupNormOverFrames) else moments
    return moments.of_groups(op.num_groups)


def add_band(known: Moments | None, band: Tensor) -> Moments:
    """The moments of all bands so far and of this one, (T, C, n, W)."""
    found = Moments.of(band)
    return found if known is None else known.merge(found)
