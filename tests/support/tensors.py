"""Random images and clips, and how far apart two tensors are."""

from collections.abc import Callable, Iterable

import torch


def random_images(channels: int, ratio: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, 3 * ratio, 5 * ratio, generator=generator, dtype=torch.float64) * 2 - 1


def clip(channels: int, frames: int, *size: int) -> torch.Tensor:
    """Two clips in [-1, 1], always the same, (2, channels, frames, *size)."""
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(2, channels, frames, *size, generator=generator, dtype=torch.float64) * 2 - 1


def moments(posterior) -> torch.Tensor:
    """As networks give them."""
    return torch.cat([posterior.mean, posterior.logvar], 1)


def near(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, by the largest number of the second."""
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


def roundings(truth: Callable, drawings: Iterable[torch.Tensor], *ways: Callable) -> list[float]:
    """How far each way of computing is from the truth, as root mean square over all that was drawn.

    Of one drawing it would say little: what a few statistics of a norm are off by is in all its numbers.
    """
    squares = torch.zeros(len(ways), dtype=torch.float64)
    for x in drawings:
        want = truth(x)
        squares += torch.stack([(way(x) - want).double().square().mean() for way in ways])
    return squares.sqrt().tolist()
