"""What every reader of a format gives: how large the image is, before anything of it is decoded, and then its frames.

A frame is a tensor (H, W, C), float32 in [0, 1], upright: 1 channel is grey, 3 are RGB, a last one of 2 or 4 is alpha,
and colours are not multiplied by it. Numbers of files that hold floats are as they are.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import BadPixels


class NotRead(BadPixels):
    """Why a sound file is not read, without its name: `explain_damage` adds it."""


class Source(Protocol):
    """The images of a file. frames: how many there are, at most. height, width: of the first, as it is seen."""

    frames: int
    height: int
    width: int

    def read(self) -> Iterator[Tensor]:
        """Each frame (H, W, C), see above."""
        ...


def scale(levels: np.ndarray, white: float) -> Tensor:
    """Levels of a file, (..., C) of any integer or floating dtype -> (..., C) float32, 1 where they are `white`."""
    return torch.from_numpy(levels.astype(np.float32)).div_(white)


def divide_by_alpha(values: Tensor) -> Tensor:
    """(..., C) with colours that are multiplied by the last channel -> the colours themselves, in [0, 1].

    Where alpha is 0 they are left as they are.
    """
    alpha = values[..., -1:]
    colours = torch.where(alpha > 0, values[..., :-1] / alpha, values[..., :-1])
    return torch.cat([colours.clamp(0, 1), alpha], -1)


# Orientation of TIFF 6.0 and EXIF -> is it turned (height and width swapped), flipped up-down, flipped left-right
TURNS = {1: (False, False, False), 2: (False, False, True), 3: (False, True, True), 4: (False, True, False),
         5: (True, False, False), 6: (True, False, True), 7: (True, True, True), 8: (True, True, False)}  # fmt: skip
UPRIGHT = 1


def turn(frame: Tensor, orientation: int) -> Tensor:
    """(H, W, C) as it is stored -> as it is seen. An orientation that is none is taken as upright."""
    swapped, down, left = TURNS.get(orientation, TURNS[UPRIGHT])
    seen = frame.transpose(0, 1) if swapped else frame
    sides = [side for side, flipped in enumerate((down, left)) if flipped]
    return seen.flip(sides) if sides else seen


def turned_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """(H, W) as it is stored -> as it is seen."""
    return (width, height) if TURNS.get(orientation, TURNS[UPRIGHT])[0] else (height, width)


def demand_finite(frame: Tensor) -> Tensor:
    """Raises NotRead for a file of floats with NaN or infinity in it."""
    if not torch.isfinite(frame).all():
        raise NotRead("it holds NaN or infinity: save it without")
    return frame
