"""Flows of a clip that is run in parts: each band is read with what is known of the same rows of earlier frames.

An op that looks ahead makes no frames until enough have come. Then its flow has no bands at all, and those after it
have none either: what they know stays as it is.
"""

from functools import partial

from torch import Tensor

from ...ops import Residual, Temporal
from ..whole import Observer, add_skip
from .holding import Banding, Flow
from .readers import ROWS, Reader, Rows, balance, has_rows
from .state import Past, match_frames
from .stores import StoredBand


class WithPast(Flow):
    """A temporal op on a part of a clip."""

    def __init__(self, op: Temporal, source: Flow, banding: Banding, observer: Observer):
        assert banding.past
        self.op, self.source, self.past, self.observer = op, source, banding.past, observer
        self.rows = source.rows
        self.numbers = max(1, int(banding.numbers / op.growth))

    def read(self, last: bool) -> Rows:
        some, rows = has_rows(balance(self.source.read(last), self.numbers))
        if not some and not self.past.ends(self.op):
            return
        known, kept = self.past.take(self.op), list[StoredBand]()
        if some:
            yield from filter(len, map(partial(self.apply, Reader(known) if known else None, kept), rows))
        elif known:
            yield from filter(len, map(partial(self.end, kept), known))
        self.past.keep(self.op, kept)

    def apply(self, known: Reader | None, kept: list[StoredBand], band: Tensor) -> Tensor:
        return self._observe(kept, band, known.read(band.shape[ROWS]) if known else None)

    def end(self, kept: list[StoredBand], known: Tensor) -> Tensor:
        return self._observe(kept, known[:0], known)

    def _observe(self, kept: list[StoredBand], band: Tensor, known: Tensor | None) -> Tensor:
        self.observer.begin_op(self.op)
        y, past = self.past.step(self.op, band, known)
        kept += self.past.put_pieces(past)
        self.observer.end_op(self.op, y)
        return y


def add_late(op: Residual, past: Past, body: Rows, skip: Rows) -> Rows:
    """The sums of a residual block whose body may be behind: frames of the skip wait in the past for the body's."""
    some, skip = has_rows(skip)
    made, body = has_rows(body)
    if not some and not made:
        return
    known, kept = past.take(op), list[StoredBand]()
    waiting, coming = Reader(known) if known else None, Reader(skip) if some else None
    if made:
        yield from map(partial(_add, op, past, waiting, coming, kept), body)
    else:
        for band in skip:
            _match(past, waiting.read(band.shape[ROWS]) if waiting else None, band, 0, kept)
    for reader in (waiting, coming):
        if reader:
            reader.finish()
    past.keep(op, kept)


def _add(
    op: Residual, past: Past, waiting: Reader | None, coming: Reader | None, kept: list[StoredBand], band: Tensor
) -> Tensor:
    known, skip = (reader.read(band.shape[ROWS]) if reader else None for reader in (waiting, coming))
    return add_skip(op, band, _match(past, known, skip, len(band), kept))


def _match(past: Past, known: Tensor | None, skip: Tensor | None, frames: int, kept: list[StoredBand]) -> Tensor:
    now, later = match_frames(known, skip, frames)
    kept += past.put_pieces(later)
    return now
