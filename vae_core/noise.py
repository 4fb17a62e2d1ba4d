"""Gaussian noise that is the same on every machine: drawn on the CPU, in float32, from a seed."""

import torch
from torch import Tensor

SEEDS = 2**64


def gaussian(shape: tuple[int, ...], seed: int, *, increment: bool = True) -> Tensor:
    """Noise of mean 0 and variance 1, shape (B, C, ...), float32 on the CPU.

    increment   item i is drawn from seed + i, so each can be made again alone; otherwise all from one stream. Either
                way the first item is what `torch.manual_seed(seed); torch.randn(1, C, ...)` gives.
    """
    if not increment:
        return _draw(shape, seed)
    items = [_draw(shape[1:], (seed + i) % SEEDS) for i in range(shape[0])]
    return torch.stack(items) if items else torch.empty(shape)


def _draw(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
