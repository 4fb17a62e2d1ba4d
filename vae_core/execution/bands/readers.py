"""Iterators of bands of rows: read any number of rows, share one iterator between two readers, cut bands anew."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice

import torch
from torch import Tensor

Rows = Iterator[Tensor]
ROWS = -2


class Reader:
    """Reads any number of rows at a time from bands (B, C, n, W); or of another dimension, such as frames."""

    def __init__(self, rows: Rows, dim: int = ROWS):
        self.rows, self.dim, self.rest = rows, dim, deque[Tensor]()

    def read(self, n: int) -> Tensor:
        while sum(band.shape[self.dim] for band in self.rest) < n:
            band = next(self.rows, None)
            assert band is not None, "fewer rows than were asked for"  # StopIteration would end the caller's `map`
            self.rest.append(band)
            del band
        parts: list[Tensor] = []
        while n:
            band = self.rest.popleft()
            take = min(n, band.shape[self.dim])
            parts.append(band.narrow(self.dim, 0, take))
            if rest := band.shape[self.dim] - take:
                left = band.narrow(self.dim, take, rest)
                self.rest.appendleft(left if rest > take else left.clone())  # a few rows must not keep all the others
            n -= take
        return parts[0] if len(parts) == 1 else torch.cat(parts, self.dim)

    def finish(self) -> None:
        """Let the source end, after all its rows have been read: it releases the last band, and may find too many."""
        next(self.rows, None)


def fork(rows: Rows) -> tuple[Rows, Rows]:
    """Two iterators over the same bands; a band goes when both have read it. (itertools.tee keeps up to 57 of them.)"""
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


def balance(rows: Iterable[Tensor], numbers: int) -> Rows:
    """The same rows in bands of about so many numbers: short bands are joined with the next, tall ones are split."""
    waiting: Tensor | None = None
    for band in rows:
        waiting = band if waiting is None else torch.cat([waiting, band], ROWS)
        del band
        tall = height(numbers_per_row(waiting), numbers)
        if 2 * waiting.shape[ROWS] < tall:
            continue
        cut = drain(waiting.tensor_split(max(1, round(waiting.shape[ROWS] / tall)), ROWS))
        waiting = None
        yield from cut
    if waiting is not None:
        yield waiting


def begin_with(n: int, rows: Rows) -> Rows:
    """The same bands; but the first has at least n rows, if there are so many."""
    if n:
        few = list[Tensor]()
        while sum(band.shape[ROWS] for band in few) < n and (band := next(rows, None)) is not None:
            few.append(band)
        band = None
        few = [torch.cat(few, ROWS)] if len(few) > 1 else few
        yield from drain([few.pop()] if few else [])
    yield from rows


def has_rows(rows: Rows) -> tuple[bool, Rows]:
    """Are there any bands? And the same bands."""
    first = list(islice(rows, 1))
    return bool(first), chain(drain(first), rows)


def drain(bands: Iterable[Tensor]) -> Rows:
    """The bands one after the other, without a reference to those already given."""
    left = deque(bands)
    del bands
    while left:
        yield left.popleft()


def numbers_per_row(x: Tensor) -> int:
    """How many numbers a row of x (B, C, H, W) has, over all channels and frames."""
    return x.numel() // x.shape[ROWS]


def height(row: int, numbers: int) -> int:
    """How many rows a band of so many numbers has if a row has `row`; at least 1."""
    return max(1, numbers // row)
