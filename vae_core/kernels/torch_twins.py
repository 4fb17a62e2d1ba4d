"""What the kernels compute, in plain torch: the fallback, and the truth of their tests.

Group norms run as batch norms, which keep channels last on every device. On CUDA torch's own group norm does not
(pytorch #111824): it makes a copy of another layout, and so does every convolution after it.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..devices.dtypes import at_least_fp32

ADDED_UP = 4096  # pixels that a CPU adds up one after the other, at most: torch does so in fp32, and each rounds


def find_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (T, C, H, W) -> for every frame and channel the mean, and the sum of squared deviations from it.

    Both (T, C), in fp32 at least. By torch's statistics of a batch norm, two passes in one call, shifted; on a CPU
    by those of a few rows at a time, which are put together in fp64; on Apple's GPUs, which have none
    (pytorch #173048), by the variance of a copy in fp32.
    """
    if x.is_meta:
        mean, squares = x.new_empty(2, *x.shape[:2], dtype=at_least_fp32(x.dtype))
        return mean, squares
    if x.device.type == "mps":
        return find_moments_in_fp32(x)
    rows = max(1, ADDED_UP // x.shape[-1]) if x.device.type == "cpu" else x.shape[-2]
    if rows < x.shape[-2]:
        return find_moments_in_pieces(x, rows)
    known = torch.zeros(x.shape[1], dtype=at_least_fp32(x.dtype), device=x.device)  # gives the result its dtype
    means, variances = zip(*(torch.batch_norm_update_stats(f, known, known, 0.0) for f in x.split(1)), strict=True)
    n = x.shape[-1] * x.shape[-2]
    if len(x) == 1:
        return means[0][None], variances[0][None] * n
    return torch.stack(means), torch.stack(variances) * n


def find_moments_in_pieces(x: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """As `find_moments`, from the moments of so many rows at a time.

    Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    pieces = x.split(rows, -2)
    found = zip(*map(find_moments, pieces), strict=True)
    means, squares = (torch.stack(parts).double() for parts in found)  # (pieces, T, C)
    n = torch.tensor([float(piece[0, 0].numel()) for piece in pieces], dtype=torch.float64)[:, None, None]
    mean = (n * means).sum(0) / n.sum()
    squares = squares.sum(0) + (n * (means - mean).square()).sum(0)
    return mean.to(at_least_fp32(x.dtype)), squares.to(at_least_fp32(x.dtype))


def find_moments_in_fp32(x: Tensor) -> tuple[Tensor, Tensor]:
    """As `find_moments`, from ops that every device has."""
    var, mean = torch.var_mean(x.to(at_least_fp32(x.dtype)), dim=(-2, -1), correction=0)
    return mean, var * (x.shape[-1] * x.shape[-2])


def add_bias(y: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
    """y + bias + skip, written over y. y, skip: (T, C, H, W) of one dtype; bias: (C,)."""
    return y.add_(bias[:, None, None]).add_(skip)  # rounded twice, as torch adds a convolution's bias on CUDA


def normalize(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, silu: bool
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, then SiLU if wanted. x, result: (T, C, H, W), in the dtype of x.

    mean, var     (1, C), or (T, C) with each frame's own; in fp32 at least
    weight, bias  (C,), of any dtype, or None
    """
    weight, bias = (None if p is None else p.to(mean.dtype) for p in (weight, bias))
    if len(mean) == 1:
        y = F.batch_norm(x, mean[0], var[0], weight, bias, eps=eps)
    else:
        y = torch.empty_like(x)  # torch.cat would hold all of it twice
        for i, (m, v) in enumerate(zip(mean, var, strict=True)):
            y[i : i + 1] = F.batch_norm(x[i : i + 1], m, v, weight, bias, eps=eps)
    return F.silu(y, inplace=True) if silu else y


def normalize_pixels(x: Tensor, gamma: Tensor, least: float, silu: bool, y: Tensor) -> Tensor:
    """Each pixel's channels by their root mean square, times gamma, then SiLU if wanted. Written to y.

    x, y   (T, C, H, W) of one dtype
    gamma  (C,)
    least  what the length of a pixel's vector is taken to be at least
    """
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=at_least_fp32(x.dtype))
    scale = length.clamp_min_(least).reciprocal_().mul_(math.sqrt(x.shape[1]))
    torch.mul(x, scale, out=y).mul_(gamma[:, None, None])
    return F.silu(y, inplace=True) if silu else y
