"""Stores for bands that are read more than once: on the device, in system memory, or in a scratch file.

That for CUDA in system memory is in pinned.py.
"""

import ctypes
import mmap
import os
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..plans import scratch
from .heap import trim_heap
from .readers import Rows

PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}  # else it counts as shared


class StoredBand:
    """One band that a store keeps."""

    rows: int

    def get(self) -> Tensor:
        """The band, on the device. Not to be written to."""
        raise NotImplementedError

    def fetch(self) -> Callable[[], Tensor]:
        """Begin to bring it to the device, if that can be done beside the computation. What is returned gives it, once.

        Then it must be taken, or the store be closed.
        """
        return self.get

    def release(self) -> None:
        """The band will not be read again: free its memory."""
        raise NotImplementedError


class Store(Protocol):
    def put(self, band: Tensor) -> StoredBand:
        """Keep a band, (B, C, n, W), until it is released."""
        ...

    def tidy(self) -> None:
        """Free what earlier use left behind. Called before a run, and when a whole image has been put."""
        ...

    def close(self) -> None:
        """Give back all that is held. May be called more than once."""
        ...


class OnDevice:
    """Bands stay where they were made."""

    def put(self, band: Tensor) -> StoredBand:
        return _BandInPlace(band)

    def tidy(self) -> None:
        pass

    def close(self) -> None:
        pass


class _BandInPlace(StoredBand):
    def __init__(self, band: Tensor):
        self.rows, self.band = band.shape[-2], band

    def get(self) -> Tensor:
        return self.band

    def release(self) -> None:
        del self.band


class MappedMemory:
    """Memory for bands on a CPU, beside the heap.

    Among the short-lived tensors of a run they would keep the heap from closing its gaps: a banded decode took a
    quarter more memory. A room that no tensor lies in any more is given to a band of the same size, or else back.
    """

    def __init__(self) -> None:
        self.free: dict[int, list[mmap.mmap]] = {}

    def tensor(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """(B, C, H, W) in channels_last, of any numbers."""
        b, c, h, w = shape
        flat = torch.frombuffer(self._room(shape.numel() * dtype.itemsize), dtype=dtype)
        return flat.view(b, h, w, c).permute(0, 3, 1, 2)

    def _room(self, size: int) -> ctypes.Array:
        """Torch holds on to it while any tensor lies in it."""
        if size not in self.free:
            self.free.clear()
        room = spare.pop() if (spare := self.free.get(size)) else mmap.mmap(-1, size, **PRIVATE)
        held = (ctypes.c_ubyte * size).from_buffer(room)
        weakref.finalize(held, self._left, room, size).atexit = False
        return held

    def _left(self, room: mmap.mmap, size: int) -> None:
        self.free.setdefault(size, []).append(room)


class InMappedMemory:
    """Bands of a CPU in rooms."""

    def __init__(self) -> None:
        self.rooms = MappedMemory()

    def put(self, band: Tensor) -> StoredBand:
        return _BandInPlace(self.rooms.tensor(band.shape, band.dtype).copy_(band))

    def tidy(self) -> None:
        trim_heap()

    def close(self) -> None:
        pass


class InSystemMemory:
    """Bands of a device other than CUDA in memory of the host. Every copy is waited for: nothing else orders them."""

    def put(self, band: Tensor) -> StoredBand:
        return _BandInSystemMemory(band)

    def tidy(self) -> None:
        pass

    def close(self) -> None:
        pass


class _BandInSystemMemory(StoredBand):
    def __init__(self, band: Tensor):
        self.rows, self.device, self.band = band.shape[-2], band.device, torch.empty_like(band, device="cpu")
        self.band.copy_(band)

    def get(self) -> Tensor:
        return self.band.to(self.device)

    def release(self) -> None:
        del self.band


class OnDisk:
    """Bands in a scratch file. It has no name: whatever ends the run, a kill too, the space is free again.

    Room that a released band leaves is given to a band of the same size. Without a `folder`, where `scratch` says.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder) if folder else scratch.folder()
        with scratch.explain_scratch_errors(self.folder):
            self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  # closed by `close`
        self.end = 0
        self.free: dict[int, list[int]] = {}
        self.rooms = MappedMemory()

    def put(self, band: Tensor) -> StoredBand:
        return _BandOnDisk(self, band)

    def tidy(self) -> None:
        trim_heap()

    def close(self) -> None:
        self.file.close()

    def room(self, size: int) -> int:
        """Where `size` bytes may be written."""
        if spare := self.free.get(size):
            return spare.pop()
        self.end += size
        return self.end - size


class _BandOnDisk(StoredBand):
    def __init__(self, store: OnDisk, band: Tensor):
        self.store, self.rows = store, band.shape[-2]
        self.shape, self.dtype, self.device = band.shape, band.dtype, band.device
        self.size, self.at = band.nbytes, store.room(band.nbytes)
        with scratch.explain_scratch_errors(store.folder):
            self.store.file.seek(self.at)
            self.store.file.write(_bytes(band.cpu()).numpy().data)

    def get(self) -> Tensor:
        band = self.store.rooms.tensor(self.shape, self.dtype)
        self.store.file.seek(self.at)
        if self.store.file.readinto(_bytes(band).numpy().data) != self.size:  # type: ignore[union-attr]
            raise scratch.ScratchError(f"the scratch file in '{self.store.folder}' lost what was written")
        return band.to(self.device)

    def release(self) -> None:
        self.store.free.setdefault(self.size, []).append(self.at)


def _bytes(band: Tensor) -> Tensor:
    """In the order of channels_last; the same memory if it lies so."""
    return band.permute(0, 2, 3, 1).contiguous().view(-1).view(torch.uint8)


def fetch_ahead(held: Iterable[StoredBand | None]) -> Rows:
    """The bands one after the other; each is fetched while what was made of the one before it is being used."""
    coming = deque[Callable[[], Tensor]]()
    for one in held:
        assert one is not None, "released before it was read"
        coming.append(one.fetch())
        if len(coming) > 1:
            yield coming.popleft()()
    while coming:
        yield coming.popleft()()
