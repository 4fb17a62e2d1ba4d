"""The heap of a process that runs on a CPU: what is alive in it, and what is in memory for nobody.

Tensors of many sizes leave gaps between them. What comes next fits into some; the others stay in memory until they are
given back, or for good.
"""

import ctypes
import math
import mmap
import os

import torch

_C = ctypes.CDLL(None) if os.name == "posix" else None
_trim = getattr(_C, "malloc_trim", None)  # glibc's; others have no such call, and nothing is done
_ask = getattr(_C, "mallinfo2", None)  # since glibc 2.33
# MKL, by which torch multiplies matrices, keeps 4 to 9 MiB of each thread that did so for the next time, in the heap.
_MKL = ctypes.CDLL(torch._C.__file__) if os.name == "posix" else None
_forget_products = getattr(_MKL, "mkl_serv_thread_free_buffers", None)

LEAST_WORTH = 16  # gaps of less than this share of the room are not worth to be given back


class _Told(ctypes.Structure):
    """What glibc tells of its heaps, in bytes unless it counts. See mallinfo(3)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "top",
        )
    )
    arena: int  # of heaps
    hblkhd: int  # of what lies beside them, each in a mapping of its own
    fordblks: int  # of heaps, in nobody's use


if _ask:
    _ask.restype = _Told


def trim_heap() -> None:
    """Give back to the system what nobody needs: free memory between what the heap still holds, and MKL's of before."""
    if _trim:
        if _forget_products:
            _forget_products()
        _trim(0)


class HeapTrimmer:
    """Gives back the gaps of the heap when this process has grown by more than `room` bytes, if they are worth it.

    To give them back all the time would cost more than it saves: what is used again has to be cleared anew.

    room  0: never
    gaps  bytes that may stay
    """

    def __init__(self, room: int, gaps: int = 0):
        self.room, self.gaps = room if _trim else 0, max(gaps, room // LEAST_WORTH)
        self.limit = _resident()[0] + room if self.room else 0
        # What the last look left: bytes in memory, and these less those that are alive. Some are alive and not in
        # memory, as nothing has been written to them; these may become more, so growth counts too.
        self.left, self.tight = 0, -math.inf

    def check(self) -> None:
        if not self.room:
            return
        resident, data = _resident()
        if resident <= self.limit:
            return
        if resident > self.left + self.gaps or resident - _count_living(data) > self.tight + self.gaps:
            trim_heap()
            self.left, data = _resident()
            self.tight = self.left - _count_living(data)


def _resident() -> tuple[int, int]:
    """Bytes of this process in memory, but for those of files; and of all that it may write to.

    Asked before every op, so without Python's own files.
    """
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        _, resident, shared, _, _, data, *_ = map(int, os.read(statm, 200).split())
    finally:
        os.close(statm)
    return (resident - shared) * mmap.PAGESIZE, data * mmap.PAGESIZE


def _count_living(data: int) -> int:
    """Bytes of `data`, all that this process may write to, without what is free in its heap; 0 if nobody tells."""
    return data - _ask().fordblks if _ask else 0
