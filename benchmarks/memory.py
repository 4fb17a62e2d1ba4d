"""How much memory a piece of work adds to what the process had before.

On a CPU anonymous pages (those of files apart), looked at every two milliseconds; on CUDA what torch has allocated.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MIB = 2**20


@contextmanager
def watch_memory(device: str) -> Iterator[Callable[[], int]]:
    """Gives a function that says, after the block, how many bytes it added at most."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield lambda: torch.cuda.max_memory_allocated() - before
        return
    ctypes.CDLL(None).malloc_trim(0)  # what the small image left
    before, most, over = anonymous_bytes(), [0], threading.Event()

    def sample() -> None:
        while not over.wait(0.002):
            most[0] = max(most[0], anonymous_bytes())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: max(most[0], anonymous_bytes()) - before
    finally:
        over.set()
        thread.join()


def anonymous_bytes() -> int:
    """Bytes of this process that no file lies behind."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))
