"""One image put into another under a mask. Images are (B, C, H, W) in [0, 1], masks (B, 1, H, W)."""

import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 32  # pixels that one number of a colour shift stands for


def composite(original: Tensor, new: Tensor, weight: Tensor) -> Tensor:
    """`new` as far as the weight says; where it is 0, the original to the bit. Alpha stays the original's."""
    colours, alpha = original[:, :3], original[:, 3:]
    blended = torch.where(weight > 0, torch.lerp(colours, new[:, :3].to(colours), weight.to(colours)), colours)
    return torch.cat([blended, alpha.expand(len(blended), -1, -1, -1)], 1)


def match_colours(new: Tensor, original: Tensor, mask: Tensor, cell: int = CELL) -> Tensor:
    """`new` with the colours that the original has outside of the mask, averaged over cells of pixels.

    How far the two are apart is known outside; into the mask it is carried on from its edges, smoothly: pull-push,
    Gortler et al. 1996, "The Lumigraph".
    """
    known = (mask == 0).to(new)
    h, w = new.shape[-2:]
    coarse = (-(-h // cell), -(-w // cell))
    apart = F.adaptive_avg_pool2d((original[:, :3] - new) * known, coarse)
    shift = _fill(apart, F.adaptive_avg_pool2d(known, coarse))
    return new + F.interpolate(shift, (h, w), mode="bilinear")


def _fill(sums: Tensor, weights: Tensor) -> Tensor:
    """sums: values times their weights. The values, as far as they have no weight those of their surroundings."""
    h, w = sums.shape[-2:]
    if max(h, w) == 1:
        return sums / weights.clamp(min=1e-6)
    half = (-(-h // 2), -(-w // 2))
    behind = _fill(F.adaptive_avg_pool2d(sums, half), F.adaptive_avg_pool2d(weights, half))
    return sums + (1 - weights) * F.interpolate(behind, (h, w), mode="bilinear")
