"""Compositing one image into another under a mask. Images are (B, C, H, W) in [0, 1], masks (B, 1, H, W)."""

import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 32  # side in pixels of the cells over which colour differences are averaged


def composite(original: Tensor, new: Tensor, weight: Tensor) -> Tensor:
    """Blend `new` into the original by weight. Where the weight is 0 the original is kept to the bit.

    original  (1 or B, 3 or 4, H, W) in [0, 1]; an alpha channel is kept as it is
    new       (B or 1, 3 or more, H, W) in [0, 1]; further channels are ignored
    weight    (B or 1, 1, H, W) in [0, 1]
    Returns (B, 3 or 4, H, W) in the original's dtype.
    """
    colours, alpha = original[:, :3], original[:, 3:]
    blended = torch.where(weight > 0, torch.lerp(colours, new[:, :3].to(colours), weight.to(colours)), colours)
    return torch.cat([blended, alpha.expand(len(blended), -1, -1, -1)], 1)


def match_colours(new: Tensor, original: Tensor, mask: Tensor, cell: int = CELL) -> Tensor:
    """Shift the colours of `new` to those of the original outside the mask, averaged over cells of pixels.

    The difference is measured outside the mask and carried into it smoothly from its edges: pull-push, Gortler et
    al. 1996, "The Lumigraph".

    new, original  (B, 3, H, W) in [0, 1], one floating dtype; the original may have an alpha channel
    mask           (B or 1, 1, H, W); 0 where both show the same thing
    Returns (B, 3, H, W), about [0, 1], in the dtype of `new`.
    """
    known = (mask == 0).to(new)
    h, w = new.shape[-2:]
    coarse = (-(-h // cell), -(-w // cell))
    difference = F.adaptive_avg_pool2d((original[:, :3] - new) * known, coarse)
    shift = _fill(difference, F.adaptive_avg_pool2d(known, coarse))
    return new + F.interpolate(shift, (h, w), mode="bilinear")


def _fill(sums: Tensor, weights: Tensor) -> Tensor:
    """(values times weights, weights) -> values; where the weight is 0, the surroundings fill in."""
    h, w = sums.shape[-2:]
    if max(h, w) == 1:
        return sums / weights.clamp(min=1e-6)
    half = (-(-h // 2), -(-w // 2))
    coarser = _fill(F.adaptive_avg_pool2d(sums, half), F.adaptive_avg_pool2d(weights, half))
    return sums + (1 - weights) * F.interpolate(coarser, (h, w), mode="bilinear")
