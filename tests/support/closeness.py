"""How near two results are: the largest difference, and rounding over many drawings."""

from collections.abc import Callable, Iterable

import torch


def roundings(truth: Callable, drawings: Iterable[torch.Tensor], *ways: Callable) -> list[float]:
    """How far each way of computing is from the truth, as root mean square over all that was drawn.

    Of one drawing it would say little: what a few statistics of a norm are off by is in all its numbers.
    """
    squares = torch.zeros(len(ways), dtype=torch.float64)
    for x in drawings:
        want = truth(x)
        squares += torch.stack([(way(x) - want).double().square().mean() for way in ways])
    return squares.sqrt().tolist()


def near(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, by the largest number of the second."""
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())
