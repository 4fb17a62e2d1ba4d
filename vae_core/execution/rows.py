"""Bands of rows, one after the other: read in any height, shared by two readers, cut anew."""

from collections import deque
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

Rows = Iterator[Tensor]
ROWS = -2


class Reader:
    """Reads any number of rows at a time."""

    def __init__(self, rows: Rows):
        self.rows, self.rest = rows, deque[Tensor]()

    def read(self, n: int) -> Tensor:
        while sum(band.shape[ROWS] for band in self.rest) < n:
            self.rest.append(next(self.rows))
        parts: list[Tensor] = []
        while n:
            band = self.rest.popleft()
            take = min(n, band.shape[ROWS])
            parts.append(band.narrow(ROWS, 0, take))
            if take < band.shape[ROWS]:
                self.rest.appendleft(band.narrow(ROWS, take, band.shape[ROWS] - take))
            n -= take
        return parts[0] if len(parts) == 1 else torch.cat(parts, ROWS)

    def finish(self) -> None:
        """All has been read: whoever gave the last band may let go of it."""
        next(self.rows, None)


def forked(rows: Rows) -> tuple[Rows, Rows]:
    """Two readers of one flow; a band goes when both have read it. (itertools.tee keeps up to 57 of them.)"""
    queues: tuple[deque[Tensor], deque[Tensor]] = (deque(), deque())

    def side(own: deque[Tensor], other: deque[Tensor]) -> Rows:
        while True:
            if not own:
                band = next(rows, None)
                if band is None:
                    return
                own.append(band)
                other.append(band)
                del band
            yield own.popleft()

    return side(*queues), side(*reversed(queues))


def balanced(rows: Iterable[Tensor], numbers: int) -> Rows:
    """The same rows in bands of about so many numbers: short ones are joined with the next, tall ones split."""
    waiting: Tensor | None = None
    for band in rows:
        waiting = band if waiting is None else torch.cat([waiting, band], ROWS)
        tall = height_of(waiting, numbers)
        if 2 * waiting.shape[ROWS] < tall:
            continue
        pieces = max(1, round(waiting.shape[ROWS] / tall))
        yield from waiting.tensor_split(pieces, ROWS)
        waiting = None
    if waiting is not None:
        yield waiting


def height_of(x: Tensor, numbers: int) -> int:
    return max(1, numbers // (x.shape[1] * x.shape[-1]))


def marked(rows: Rows) -> Iterator[tuple[Tensor, bool]]:
    """Each band, and whether it is the last."""
    band = next(rows)
    for following in rows:
        yield band, False
        band = following
    yield band, True
