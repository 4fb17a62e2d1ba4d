"""Flows of ops that run others on pieces of what they read, each in bands: tiles row after row, or all at once."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ...ops import Cut, Nest, Ops, Run, Tiled, TileRow, make_room
from ..whole import Observer
from .holding import Banding, Flow, Source
from .readers import ROWS, Reader, Rows, drain, height, numbers_per_row

Prepare = Callable[[Ops, Flow, Banding, Observer], Flow]


def make_nest_flow(op: Nest, source: Flow, numbers: int, run: Run, observer: Observer) -> Flow:
    """numbers: in a band. run: what it runs on a piece"""
    return (InTiles if isinstance(op, Tiled) else AtOnce)(op, source, numbers, run, observer)


class AtOnce(Flow):
    """An op that is given all its source at once, which is a tile, or what was made of one."""

    def __init__(self, op: Nest, source: Flow, numbers: int, run: Run, observer: Observer):
        self.op, self.source, self.numbers, self.run = op, source, numbers, run
        read, made = op.ratio
        self.rows = source.rows // read * made

    def read(self, last: bool) -> Rows:
        reader = Reader(self.source.read(last))
        x = [reader.read(self.source.rows)]
        reader.finish()
        yield from _split(self.op.compute(x.pop(), self.run), self.numbers)


class InTiles(Flow):
    """A row of tiles after the other. Rows that the next one reads again, or fades in over, are kept."""

    def __init__(self, op: Nest, source: Flow, numbers: int, run: Run, observer: Observer):
        assert isinstance(op, Tiled)
        self.op, self.source, self.numbers, self.run, self.observer = op, source, numbers, run, observer
        read, made = op.ratio
        self.rows = source.rows // read * made

    def read(self, last: bool) -> Rows:
        reader, n = Reader(self.source.read(last)), self.op.ratio[0]
        tiles: TileRow | None = None
        kept: Tensor | None = None
        for top in self.op.cut(self.source.rows):
            fresh = reader.read((top.end - top.start) * n - (0 if kept is None else kept.shape[ROWS]))
            strip = [fresh if kept is None else torch.cat([kept, fresh], ROWS)]
            del fresh
            kept = strip[0][..., top.shown * n :, :].clone(memory_format=torch.channels_last)
            tiles = TileRow(self.op, kept.shape[-1]) if tiles is None else tiles
            find_room = partial(self._find_room, strip[0].numel(), strip[0].shape[-1])
            yield from _split(tiles.run(strip.pop(), top, self.run, find_room), self.numbers)
        reader.finish()

    def _find_room(self, read: int, width: int, top: Cut, tile: Tensor) -> Tensor:
        """For the rows of the result that these tiles make alone; and announces what is kept meanwhile.

        read: numbers of the rows that are read
        """
        n, m = self.op.ratio
        columns = width // n * m
        kept = tile.numel() // tile.shape[-1] * columns + 2 * tile.numel()
        if not top.start:
            self.observer.carry(2 * read + 2 * kept)
        return make_room(tile, top.shown * m, columns)


def run_piece(prepare: Prepare, banding: Banding, observer: Observer, ops: Ops, at: list[Tensor]) -> Tensor:
    """What the ops make of a piece, in bands. (B, C, h, w) -> (B, C', h', w')

    prepare: makes a flow of ops
    """
    observer.begin_pass()
    flow = prepare(ops, Source(at.pop(), banding), banding, observer)
    y, row = None, 0
    for band in flow.read(last=True):
        if band.shape[ROWS] < flow.rows:
            y = make_room(band, flow.rows, band.shape[-1]) if y is None else y
            y.narrow(ROWS, row, band.shape[ROWS]).copy_(band)
            row += band.shape[ROWS]
        else:
            y = band
        del band
    observer.end_pass()
    assert y is not None
    return y


def _split(y: Tensor, numbers: int) -> Rows:
    """In bands of so many numbers."""
    return drain(y.split(height(numbers_per_row(y), numbers), ROWS))
