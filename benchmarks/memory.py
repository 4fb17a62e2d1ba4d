"""Measures how much memory a piece of work adds to its process.

Of a CPU it counts anonymous pages, without those of mapped files. Linux keeps the peak of all pages, from when it is
told to begin anew; where it cannot be told, the pages are sampled every two milliseconds. On CUDA torch keeps the peak.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20


@contextmanager
def watch_memory(device: str) -> Iterator[Callable[[], int]]:
    """Gives a function that returns, after the block, the most bytes that the block added."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield lambda: torch.cuda.max_memory_allocated() - before
        return
    ctypes.CDLL(None).malloc_trim(0)  # what earlier runs left
    before = read_status("RssAnon")
    with _watch_peak() as most:
        yield lambda: most() - before


@contextmanager
def _watch_peak() -> Iterator[Callable[[], int]]:
    """Gives a function that returns the most anonymous bytes of this process since."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # man 5 proc: begin the peak of resident memory anew
    except OSError:
        with _sample_peak() as most:
            yield most
        return
    yield lambda: read_status("VmHWM") - read_status("RssFile") - read_status("RssShmem")


@contextmanager
def _sample_peak() -> Iterator[Callable[[], int]]:
    most, over = [0], threading.Event()

    def sample() -> None:
        while not over.wait(0.002):
            most[0] = max(most[0], read_status("RssAnon"))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: max(most[0], read_status("RssAnon"))
    finally:
        over.set()
        thread.join()


def read_status(name: str) -> int:
    """Bytes of this process by a name of /proc/self/status: 'RssAnon' are anonymous pages, 'RssFile' those of files."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{name}:"))
