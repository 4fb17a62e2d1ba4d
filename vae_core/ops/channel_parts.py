"""Some channels of a result at a time, where what is made of weights for a call would take much memory at once."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..devices.dtypes import at_least_fp32

BLOCK = 16  # channels that a backend lays out together, at most


def by_channels(weight: Tensor, convolve: Callable[[slice], Tensor], most: int) -> Tensor:
    """What `convolve` makes for some channels of the result, (B, channels, H, W), for all of them.

    weight: (C', C, k, k), as large as what is made of weights for a call: a part at a time, of so many bytes at most
    """
    parts = split_channels(len(weight), weight.numel(), most, at_least_fp32(weight.dtype).itemsize)
    y: Tensor | None = None
    for part in parts:
        made = convolve(part)
        if made.shape[1] == len(weight):
            return made
        if y is None:
            shape = (len(made), len(weight), *made.shape[2:])
            y = torch.empty(shape, dtype=made.dtype, device=made.device, memory_format=torch.channels_last)
        y[:, part] = made
    assert y is not None
    return y


def split_channels(channels: int, numbers: int, most: int | None, itemsize: int = 4) -> Iterator[slice]:
    """These channels in parts, as equal as they can be. Arguments are those of `count_channels`."""
    step = count_channels(channels, numbers, most, itemsize)
    for first in range(0, channels, step):
        yield slice(first, min(first + step, channels))


def count_channels(channels: int, numbers: int, most: int | None, itemsize: int = 4) -> int:
    """How many channels at a time: all, or whole blocks, which the backend fills up otherwise.

    numbers   in the weights of all channels
    most      bytes at most of what is made of them at a time, `itemsize` for each number; None: all of them
    """
    parts = -(-numbers * itemsize // most) if most else 1
    return channels if parts <= 1 else min(channels, -(-channels // (parts * BLOCK)) * BLOCK)
