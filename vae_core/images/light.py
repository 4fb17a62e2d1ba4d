"""Values of an image as screens take them (sRGB), and the light that they stand for, which OpenEXR files hold.

The curve is IEC 61966-2-1's. Beyond [0, 1] it goes on, and below 0 it is mirrored, so nothing is lost on the way.
"""

import torch
from torch import Tensor

from ..devices.cards import to_float64

TOE, SLOPE, OFFSET, POWER = 0.04045, 12.92, 0.055, 2.4  # IEC 61966-2-1


def to_light(values: Tensor) -> Tensor:
    """Values of any shape and floating dtype, white 1 -> linear light, white 1, in the same dtype."""
    x = to_float64(values)
    curved = ((x.abs() + OFFSET) / (1 + OFFSET)) ** POWER
    return torch.where(x.abs() <= TOE, x / SLOPE, curved.copysign(x)).to(values)


def from_light(light: Tensor) -> Tensor:
    """Linear light of any shape and floating dtype, white 1 -> values, white 1, in the same dtype."""
    x = to_float64(light)
    curved = (1 + OFFSET) * x.abs() ** (1 / POWER) - OFFSET
    return torch.where(x.abs() <= TOE / SLOPE, x * SLOPE, curved.copysign(x)).to(light)
