"""What a run takes: seconds, and the most memory that it adds on its device."""

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
import torch

INTERVAL = 0.002  # seconds between two looks at memory of which no peak is kept


def measure_seconds(work: Callable[[], object]) -> float:
    """work: ends with its result on the CPU, for which torch waits."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def watch_memory(device: torch.device) -> Iterator[Callable[[], int]]:
    """Gives a function that says, after the block, how many bytes the block added at most.

    CUDA and XPU keep the peak themselves. Elsewhere it is looked at again and again: on a CPU the memory of this
    process, so what was free in its heap before is not counted.
    """
    if device.type in ("cuda", "xpu"):
        counts = torch.get_device_module(device)
        counts.reset_peak_memory_stats(device)
        before = counts.memory_allocated(device)
        yield lambda: counts.max_memory_allocated(device) - before
        return
    _give_back_heap()
    with _sample(_choose_reading(device)) as most:
        yield most


@contextmanager
def _sample(read: Callable[[], int]) -> Iterator[Callable[[], int]]:
    before, seen, over = read(), [0], threading.Event()

    def look() -> None:
        while not over.wait(INTERVAL):
            seen[0] = max(seen[0], read() - before)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: max(seen[0], 0)
    finally:
        over.set()
        thread.join()
        seen[0] = max(seen[0], read() - before)


def _choose_reading(device: torch.device) -> Callable[[], int]:
    if device.type == "mps":
        return torch.mps.driver_allocated_memory
    process = psutil.Process()
    return lambda: process.memory_info().rss


def _give_back_heap() -> None:
    """What earlier runs left in the heap would hide what the next one takes."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # only glibc can
            ctypes.CDLL(None).malloc_trim(0)
