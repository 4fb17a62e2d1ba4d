"""The flow of an op that reads the rows nearest to its own: as many at the borders of an image as elsewhere.

It makes a row when all that the row sees is there, and keeps of what it has read what the next rows see.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...ops import Near, begin_window
from ..whole import Observer
from .holding import Banding, Flow
from .readers import ROWS, Rows, balance, drain, numbers_per_row

AROUND = 3  # tensors of the rows around a band that are alive while it is computed: joined, keys, values


@dataclass(frozen=True)
class _Compute:
    """What an op makes of rows, see `Near.compute_rows`. Equal to any other for the same rows, as counts need it."""

    first: int
    count: int

    def __call__(self, op: Near, x: Tensor) -> Tensor:
        return op.compute_rows(x, self.first, self.count)


class NearRows(Flow):
    """One band of the result for each that is read, once enough have come."""

    def __init__(self, op: Near, source: Flow, banding: Banding, observer: Observer):
        self.op, self.source, self.observer, self.rows = op, source, observer, source.rows
        self.numbers = max(1, int(banding.numbers / max(1, op.growth)))

    def read(self, last: bool) -> Rows:
        place = _Place(self.op, self.rows, self.observer)
        for made in map(place.add, balance(self.source.read(last), self.numbers)):
            yield from made
        assert place.next in (0, self.rows), "fewer rows than were announced"


class _Place:
    """How far an op has come down an image of so many rows.

    top   the first row of the image that is kept
    next  the first row of the result that is still to be made
    """

    def __init__(self, op: Near, rows: int, observer: Observer):
        self.op, self.rows, self.observer = op, rows, observer
        self.reach = min(op.reach, rows)
        self.kept: Tensor | None = None
        self.top = self.next = 0
        self.carried = 0

    def add(self, band: Tensor) -> Rows:
        """What can be made of a band and of those before it: one band, or none yet."""
        self._carry(band)
        seen = band if self.kept is None else torch.cat([self.kept, band], ROWS)
        self.kept = None
        come = self.top + seen.shape[ROWS]
        end = self.rows if come == self.rows else self._count_made(come)
        made: list[Tensor] = []
        if end > self.next:
            needed = seen.narrow(ROWS, 0, self._begin(end - 1) + self.reach - self.top)
            made.append(self.observer.run_op(self.op, _Compute(self.next - self.top, end - self.next), needed))
            self.next = end
        if come < self.rows:
            gone = self._begin(self.next) - self.top
            self.kept = seen.narrow(ROWS, gone, seen.shape[ROWS] - gone).clone(memory_format=torch.channels_last)
            self.top += gone
        return drain(made)

    def _count_made(self, come: int) -> int:
        """Rows of the result that so many rows are enough for, if more are to come."""
        return come - self.reach + self.reach // 2 + 1 if come >= self.reach else 0

    def _begin(self, row: int) -> int:
        return begin_window(row, self.reach, self.rows)

    def _carry(self, band: Tensor) -> None:
        """Announces what is kept from band to band, and what lies around a band while it is computed."""
        if not self.carried:
            self.carried = (self.reach - 1) * numbers_per_row(band)
            self.observer.carry(self.carried, AROUND * self.carried + self.op.count_meanwhile(band))
