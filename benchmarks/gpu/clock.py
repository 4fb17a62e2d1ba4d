"""Times a piece of work on the device, and how much memory it adds.

On CUDA by events, with the caches of torch and cuDNN warm; on a CPU in seconds of the processor.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from memory import MIB, watch_memory

Work = Callable[[], object]
WARM, RUNS = 3, 10
FIRST = "first ms, kernels on disk"
EVICTING = 2**26  # numbers in fp32, 256 MiB: they are read, and the largest caches have lost all else
LONGEST = 8.0  # seconds after which a measurement is not repeated


def measure(work: Work, device: str, warm: int = WARM, runs: int = RUNS) -> dict[str, Any]:
    """Milliseconds and MiB of what is done, as columns of a row.

    FIRST         the first time: with planning, and with the kernels that a backend chooses or loads. Those of Triton
                  lie compiled on the disk, see compiling.py; on a new machine they would be compiled as well
    ms            the median of `runs`, after as many as `warm` more
    allocated     MiB that tensors take at most, beside those before
    reserved      MiB that torch takes from the device at most, beside those before; CUDA only
    """
    row: dict[str, Any] = {FIRST: time_once(work, device)}
    start = time.monotonic()
    for _ in range(warm):
        if time.monotonic() - start < LONGEST:
            work()
    row |= measure_memory(work, device)
    times: list[float] = []
    while len(times) < runs and (not times or time.monotonic() - start < LONGEST):
        times.append(time_once(work, device))
    return {"ms": statistics.median(times), **row}


def median_ms(
    work: Work, device: str, warm: int = 3, runs: int = 20, longest: float = 1.0, cold: bool = False
) -> float:
    """Milliseconds, of a single op.

    cold: nothing of what it reads is in the device's cache, which might hold all of a small input from run to run
    """
    for _ in range(warm):
        work()
    evict = partial(torch.sum, torch.zeros(EVICTING, device=device)) if cold and device.startswith("cuda") else None
    start, times = time.monotonic(), []
    while len(times) < runs and (not times or time.monotonic() - start < longest):
        times.append(time_once(work, device, evict))
    return statistics.median(times)


def time_once(work: Work, device: str, first: Work | None = None) -> float:
    """Milliseconds until the device has done it. first: done before that, and not timed; on CUDA only."""
    if not device.startswith("cuda"):
        start = time.process_time()
        work()
        return 1000 * (time.process_time() - start)
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    if first:
        first()
    before.record()
    work()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after)


def time_return(work: Work, device: str) -> float:
    """Milliseconds until the call comes back, the device being idle before."""
    synchronize(device)
    start = time.perf_counter()
    work()
    took = time.perf_counter() - start
    synchronize(device)
    return 1000 * took


def measure_memory(work: Work, device: str) -> dict[str, float]:
    """MiB that it adds at most."""
    with watch_peaks(device) as peaks:
        work()
    return peaks


@contextmanager
def watch_peaks(device: str) -> Iterator[dict[str, float]]:
    """Gives a dictionary that has `allocated` and, on CUDA, `reserved` after the block: MiB beside those before."""
    peaks: dict[str, float] = {}
    on_cuda = device.startswith("cuda")
    if on_cuda:
        torch.cuda.empty_cache()  # what is reserved counts from here
    reserved = torch.cuda.memory_reserved() if on_cuda else 0
    with watch_memory(device) as most:  # which has torch forget earlier peaks
        yield peaks
        synchronize(device)
    peaks["allocated"] = most() / MIB
    if on_cuda:
        peaks["reserved"] = (torch.cuda.max_memory_reserved() - reserved) / MIB


def choose_half(device: str) -> torch.dtype:
    """bf16; on a CPU fp32, for convolutions over frames in half precision take minutes there."""
    return torch.bfloat16 if device.startswith("cuda") else torch.float32


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
