"""How long something takes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def measure_seconds(work: Callable[[], T]) -> tuple[T, float]:
    """(the result, the seconds it took)"""
    start = time.perf_counter()
    return work(), time.perf_counter() - start
