"""Drawing numbers: errors as heat maps, the channels of a latent as a grid. Results are (B, 3, H, W) in [0, 1]."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadRequest

WHITE_HOT = 0.2  # the error that is drawn white, as a fraction of the full range


def heat_map(a: Tensor, b: Tensor, white: float = WHITE_HOT) -> Tensor:
    """Draw the difference of two images: black where they are equal, then red, yellow and white.

    a, b   (B, C, H, W) in [0, 1]; their absolute difference is averaged over the channels
    white  the difference that is drawn white
    Returns (B, 3, H, W) in [0, 1]. Raises BadRequest for a `white` that is no number above 0.
    """
    if not 0 < white < math.inf:
        raise BadRequest(f"an error of {white} cannot be drawn white: give a number above 0.")
    heat = (a - b).abs().mean(1, keepdim=True) / white
    return torch.cat([3 * heat, 3 * heat - 1, 3 * heat - 2], 1).clamp(0, 1)


def channel_grid(z: Tensor, scale: int = 1, gap: int = 2) -> Tensor:
    """Draw the channels of a latent side by side, in a grid that is as square as possible.

    z      (B, C, h, w), any range and dtype
    scale  pixels per latent pixel
    gap    white pixels between channels
    Returns (B, 3, H, W) in [0, 1], float32. The mean of a channel is grey; three standard deviations below and above
    are black and white.
    """
    z = z.float()
    mean, std = z.mean((-2, -1), keepdim=True), z.std((-2, -1), keepdim=True, correction=0).clamp(min=1e-6)
    grey = (0.5 + (z - mean) / std / 6).clamp(0, 1)
    grey = grey.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
    columns = math.ceil(math.sqrt(z.shape[1] * z.shape[2] / z.shape[3]))
    rows = math.ceil(z.shape[1] / columns)
    grey = F.pad(grey, (0, gap, 0, gap, 0, columns * rows - z.shape[1]), value=1.0)
    b, _, h, w = grey.shape
    grid = grey.reshape(b, rows, columns, h, w).transpose(2, 3).reshape(b, 1, rows * h, columns * w)
    return grid[..., : rows * h - gap, : columns * w - gap].expand(-1, 3, -1, -1)
