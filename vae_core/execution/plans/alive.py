"""Count what is alive at once while one image runs in bands on a CPU: the executor itself runs, on the meta device.

Bands have their true height here, and stores take what theirs take. So all is counted together, moment by moment: what
flows carry, what is read back, the image that grows in the store while another shrinks.
"""

import math
import weakref
from typing import NamedTuple

import torch
from torch import Tensor

from ...ops import Ops, list_norms
from ..bands.flows import read_flow
from ..bands.holding import Banding, Source
from ..bands.readers import ROWS
from ..bands.state import Past
from ..bands.stores import StoredBand
from .counting import GAPS, GAPS_ON_DISK, LiveBytes
from .places import DISK
from .replays import Kinds
from .shapes import ShapesOnly


class Alive(NamedTuple):
    """Bytes of a run in bands, and a share.

    most     at most alive: of what ops make, of what they take meanwhile, and what is held
    passing  at most alive beside what is held
    surge    at most that come from one op to the next
    by_peak  of what the backend compiles, see `LiveBytes.compiled_by_peak`
    """

    most: int
    passing: int
    gaps: int
    surge: int
    by_peak: float


@torch.no_grad()
def count_alive(
    ops: Ops, x: Tensor, side: Tensor, numbers: int, keep: str, twice: tuple[int, ...], past: Past | None = None,
    taller: float = 1, until: float = math.inf, kinds: Kinds | None = None,
) -> Alive:  # fmt: skip
    """What lives during a run; x and side are the caller's, and not counted.

    ops, x, side   as for a BandedRun
    numbers        in a band
    keep, twice    as in a Plan
    taller         times x: the image of which x is the top, so much more is held
    until          rows of the result that are enough
    kinds          of the ops, if they are counted more than once
    """
    count = _Passes(taller, GAPS_ON_DISK if keep == DISK else GAPS, kinds)
    norms, rooms = list_norms(ops), _CountingRooms(count, keep)
    past = past.copy(_CountingRooms(count, DISK)) if past else None  # what is known of earlier frames is the caller's
    banding = Banding(numbers, rooms, frozenset(id(norms[i]) for i in twice), past=past)
    banding = banding._replace(side_input=Source(side, banding))
    with ShapesOnly(count):
        made = 0
        for band in read_flow(ops, Source(x, banding), banding, count):
            made += band.shape[ROWS]
            del band
            if made >= until:
                break
    count.end_passes()
    return Alive(int(count.most_on_cpu), count.passing, int(count.gaps), count.surge, count.compiled_by_peak)


class _Passes(LiveBytes):
    """Of a taller image more bands come in each pass, so what is compiled by its end counts all the while."""

    def __init__(self, taller: float, leaves: float, kinds: Kinds | None):
        super().__init__(taller, leaves, kinds)
        self.passes = [0.0]  # bytes at most alive in each that has begun and not ended

    def note(self, alive: float) -> None:
        self.passes[-1] = max(self.passes[-1], alive)

    def begin_pass(self) -> None:
        self.passes.append(0.0)

    def end_pass(self) -> None:
        super().note(self.passes.pop())

    def end_passes(self) -> None:
        """The result has been read, as far as it was wanted."""
        while self.passes:
            self.end_pass()


class _CountingRooms:
    """A store that takes as much as `InMappedMemory` or `OnDisk`: rooms in use, and spare ones of one size."""

    def __init__(self, count: LiveBytes, keep: str):
        self.count, self.on_disk = count, keep == DISK
        self.spare: dict[int, int] = {}

    def put(self, band: Tensor) -> "_CountedRoom":
        return _CountedRoom(self, band)

    def tidy(self) -> None:
        pass

    def close(self) -> None:
        pass

    def make_room(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        size = shape.numel() * dtype.itemsize
        if size not in self.spare:
            self._grow(-sum(one * n for one, n in self.spare.items()))
            self.spare.clear()
        if self.spare.get(size):
            self.spare[size] -= 1
        else:
            self._grow(size)
        with self.count.looking_away():
            made = torch.empty(shape, dtype=dtype, device="meta")
        weakref.finalize(made.untyped_storage(), self._leave, size).atexit = False
        return made

    def _grow(self, size: int) -> None:
        if not self.on_disk:  # otherwise it holds only what was read back
            self.count.held += size
            self.count.beyond += size * (self.count.taller - 1)
        self.count.grow(size)

    def _leave(self, size: int) -> None:
        self.spare[size] = self.spare.get(size, 0) + 1


class _CountedRoom(StoredBand):
    """A band in a room; one that is on disk gets a room each time that it is read."""

    def __init__(self, store: _CountingRooms, band: Tensor):
        self.store, self.rows, self.shape, self.dtype = store, band.shape[-2], band.shape, band.dtype
        self.band = None if store.on_disk else store.make_room(band.shape, band.dtype)

    def get(self) -> Tensor:
        return self.store.make_room(self.shape, self.dtype) if self.band is None else self.band

    def release(self) -> None:
        self.band = None
