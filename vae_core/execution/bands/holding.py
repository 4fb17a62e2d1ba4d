"""What a flow is, and the two ways to read one more than once: hold it in a store, or compute it again."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..whole import Observer
from .moments import Moments, add_band
from .readers import ROWS, Reader, Rows, balance, height, numbers_per_row
from .state import Past
from .stores import Store, StoredBand, fetch_ahead


class Flow:
    """Bands of rows (1, C, n, W) of an image, or (T, C, n, W) of a clip, from the top down; `rows` in all."""

    rows: int

    def read(self, last: bool) -> Rows:
        """The bands, in the dtype of the source. last: nobody will read the flow again.

        Only an op that says `in_place`, and that reads a new tensor, may write to a band.
        """
        raise NotImplementedError


class Banding(NamedTuple):
    """How a network is run in bands.

    numbers     in one band, at every resolution: rows x width x channels
    store       for bands that are read more than once
    recomputed  ids of group norms whose input is computed twice instead of held
    side_input  what SideInputs read; None: the source of the whole flow
    past        of a clip that is run in parts: what is known of the parts before
    held        if given, flows that are held are put into it as they are made, each after those that it reads
    """

    numbers: int
    store: Store
    recomputed: frozenset[int] = frozenset()
    side_input: Flow | None = None
    past: Past | None = None
    held: "list[HeldFlow] | None" = None


class Source(Flow):
    """A tensor (1, C, H, W), or (T, C, H, W), that somebody else keeps; of no frames it has no bands."""

    def __init__(self, x: Tensor, banding: Banding):
        self.x, self.banding, self.rows = x, banding, x.shape[ROWS]

    def read(self, last: bool) -> Rows:
        if not len(self.x):
            return iter(())
        return iter(self.x.split(height(numbers_per_row(self.x), self.banding.numbers), ROWS))


class Rereadable(Flow):
    """A flow that may be read several times, and knows its moments."""

    def moments(self) -> Moments:
        raise NotImplementedError


class HeldFlow(Rereadable):
    """A flow that is computed once and held in a store."""

    def __init__(self, source: Flow, banding: Banding, observer: Observer):
        self.source: Flow | None = source
        self.banding, self.observer, self.rows = banding, observer, source.rows
        self.held: list[StoredBand | None] = []  # None: released
        self.gone = 0  # bands that have been released, from the top
        self.passed: dict[int, int] = {}  # for each reader: the bands that it has read
        self.final: int | None = None  # the reader after whom nobody reads
        self._moments: Moments | None = None
        if banding.held is not None:
            banding.held.append(self)

    def fill(self) -> None:
        if self.source is None:
            return
        source, self.source = self.source, None
        self.observer.begin_pass()
        for band in balance(source.read(last=True), self.banding.numbers):
            self._moments = add_band(self._moments, band)
            self.held.append(self.banding.store.put(band))
            del band
        self.observer.end_pass()
        self.banding.store.tidy()

    def moments(self) -> Moments:
        self.fill()
        assert self._moments is not None
        return self._moments

    def edges(self, top: int, bottom: int) -> tuple[Tensor, Tensor]:
        """So many rows from the top, and so many from the bottom, copied: (T, C, n, W). Not while it is read."""
        self.fill()
        held = [band for band in self.held if band]
        first = Reader(band.get() for band in held).read(top)
        last = Reader(band.get().flip(ROWS) for band in reversed(held)).read(bottom).flip(ROWS)
        return first.clone(memory_format=torch.channels_last), last.clone(memory_format=torch.channels_last)

    def read(self, last: bool) -> Rows:
        self.fill()
        reader = len(self.passed) + 1
        self.passed[reader] = 0
        self.final = reader if last else self.final
        rows = fetch_ahead(self.held)
        for i in range(len(self.held)):
            band = [next(rows)]
            self.passed[reader] = i + 1  # the store need not hold the band that the reader has
            self._release()
            yield band.pop()

    def _release(self) -> None:
        """Release the bands that all readers have passed, once the last reader is known."""
        while self.final and self.gone < min(self.passed.values()):
            held, self.held[self.gone] = self.held[self.gone], None
            assert held is not None
            held.release()
            self.gone += 1


class RecomputedFlow(Rereadable):
    """A flow that is computed again whenever it is read: time instead of memory."""

    def __init__(self, source: Flow, observer: Observer):
        self.source, self.observer, self.rows = source, observer, source.rows
        self._moments: Moments | None = None

    def moments(self) -> Moments:
        if self._moments is None:
            self.observer.begin_pass()
            for band in self.source.read(last=False):
                self._moments = add_band(self._moments, band)
            self.observer.end_pass()
        assert self._moments is not None
        return self._moments

    def read(self, last: bool) -> Rows:
        self.moments()
        return self.source.read(last)
