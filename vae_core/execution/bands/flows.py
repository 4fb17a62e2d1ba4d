"""Run a network on bands of rows, with the same result as running it whole.

Every op becomes a flow: it can be read from the top of the image to its end, band by band, and read again if need be.
A group norm reads its source twice, once for the statistics and once for the image; attention too. What is read more
than once is held in a store, or computed again.

A 3 x 3 convolution, a `SlidingWindow`, over bands of four rows:

    row   0  1  2  3  4  5  6  7  8  9 10 11
         [ band 1  ] [ band 2  ] [ band 3  ]     what the source gives, from the top down
       0  1  2  3                                1. zeros above; rows 0 to 2 of the result are handed on.
             2  3                                   Rows 2 and 3 are kept: a copy, so that band 1 can go.
             2  3  4  5  6  7                    2. kept rows and band 2: rows 3 to 6 are handed on.
                         6  7                       Rows 6 and 7 are kept, rows 2 and 3 and band 2 are let go.
                         6  7  8  9 10 11  0     3. kept rows and band 3, zeros below: rows 7 to 11 are handed on.
                                                    Nothing is kept.

    source -> window -> norm       the norm needs all rows before it makes the first: it holds them
                        store [ rows 0-2 ][ rows 3-6 ][ rows 7-11 ]
                              1. each band is put into the store, and its moments are added to those of the image
                              2. each band is read, normalized and handed on; the last reader releases it

`read(last=True)` says that nobody will read the flow again. So a held band is released when its last reader has it:
while the sum of a residual block grows, the two images that it is made of shrink. Whoever hands a band on keeps no
reference to it. The variables of a suspended generator would, so bands pass through `map`, or out of a list.
"""

from collections.abc import Callable
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from ...ops import (
    AnyOp,
    Blocks,
    FromTop,
    Global,
    Near,
    Nest,
    Ops,
    Residual,
    SideInput,
    Temporal,
    Window,
    apply_alone,
    apply_join,
    apply_over,
    declared,
    list_looks_ahead,
    pad_borders,
    walk,
)
from ..whole import Observer, add_skip
from .blocks import InBlocks
from .holding import Banding, Flow, HeldFlow, RecomputedFlow, Rereadable
from .moments import Moments
from .near import NearRows
from .nests import make_nest_flow, run_piece
from .parts import WithPast, add_late
from .readers import ROWS, Reader, Rows, balance, begin_with, drain, fork, numbers_per_row
from .sides import RowByRow, split_side
from .whole_image import Attention, Normalization


def apply_unpadded(op: Window, x: Tensor) -> Tensor:
    return op.apply_unpadded(x)


def build_flow(ops: Ops, source: Flow, banding: Banding, observer: Observer) -> Flow:
    """The flow of what the ops make of a source. `observer` is told of every band."""
    banding = banding if banding.side_input else banding._replace(side_input=source)
    made = source
    for op in ops:
        made = _build_step(op, made, banding, observer)
    return made


def read_flow(ops: Ops, source: Flow, banding: Banding, observer: Observer) -> Rows:
    """What the ops make of a source, in bands from the top."""
    yield from prepare_flow(ops, source, banding, observer).read(last=True)


def prepare_flow(ops: Ops, source: Flow, banding: Banding, observer: Observer) -> Flow:
    """The flow of what the ops make of a source, to be read once.

    Of an image all that is held is computed in its order before the first band is read: a flow that finds its source
    ready asks no further. Otherwise each would ask the one before it, and of a deep network (SD's consistency decoder)
    more of them than Python lets functions call one another.
    """
    held: list[HeldFlow] = []
    made = build_flow(ops, source, banding if banding.past else banding._replace(held=held), observer)
    try:
        for flow in held:
            flow.fill()
    finally:
        held.clear()  # they know the list, so what they hold would outlive a run that fails
    return made


def _build_step(op: AnyOp, source: Flow, banding: Banding, observer: Observer) -> Flow:
    if isinstance(op, Residual):
        return ResidualSum(op, source, banding, observer)
    if isinstance(op, SideInput):
        return SideJoin(op, source, banding, observer)
    if isinstance(op, Nest):
        alone = partial(run_piece, prepare_flow, banding._replace(side_input=None), observer)
        return make_nest_flow(op, source, banding.numbers, partial(observer.run_piece, function=alone), observer)
    if isinstance(op, nn.GroupNorm):
        return Normalization(op, _make_rereadable(op, source, banding, observer), observer)
    if isinstance(op, Global):
        return Attention(op, source, banding.past if op.looks_back else None, observer)
    if isinstance(op, Window):
        window = WrappedWindow if wraps(op) else SlidingWindow
        return window(op, source, banding, observer)
    if isinstance(op, Near):
        return NearRows(op, source, banding, observer)
    if isinstance(op, Blocks):
        return InBlocks(op, source, observer)
    if isinstance(op, Temporal) and banding.past:
        return WithPast(op, source, banding, observer)
    return Pointwise(op, source, banding, observer)


def _make_rereadable(op: nn.GroupNorm, source: Flow, banding: Banding, observer: Observer) -> Rereadable:
    if isinstance(source, Rereadable):
        return source
    if id(op) in banding.recomputed:
        return RecomputedFlow(source, observer)
    return HeldFlow(source, banding, observer)


class Pointwise(Flow):
    """An op that makes of each row a row, or several."""

    def __init__(self, op: AnyOp, source: Flow, banding: Banding, observer: Observer):
        self.op, self.source, self.observer = op, source, observer
        self.rows = declared(op).rows_per_step * source.rows
        growth = declared(op).growth
        self.numbers = max(1, int(banding.numbers / growth)) if growth > 1 else None

    def read(self, last: bool) -> Rows:
        rows = self.source.read(last)
        apply = partial(self.apply, begin(self.op))
        return map(apply, balance(rows, self.numbers) if self.numbers else rows)

    def apply(self, function: Callable[[AnyOp, Tensor], Tensor], band: Tensor) -> Tensor:
        self.observer.carry(0, declared(self.op).count_meanwhile(band))
        return self.observer.run_op(self.op, function, band)


def begin(op: AnyOp) -> Callable[[AnyOp, Tensor], Tensor]:
    """How an op is applied to the bands of one image, from the top."""
    if not isinstance(op, FromTop):
        return apply_over
    step = op.begin()
    return lambda _, band: step(band)


class SlidingWindow(Flow):
    """A window: the rows that it still needs are kept from band to band."""

    def __init__(self, op: Window, source: Flow, banding: Banding, observer: Observer):
        self.op, self.source, self.observer = op, source, observer
        self.rows = op.rows_per_step * op.steps(source.rows + sum(op.rows))
        self.numbers = max(1, int(banding.numbers / max(1, op.growth)))

    def read(self, last: bool) -> Rows:
        window = _WindowPosition(self.op, self.source.rows, self.observer)
        mirrored = max(self.op.rows) + 1 if self.op.border == "reflect" else 0
        for made in map(window.slide, begin_with(mirrored, balance(self.source.read(last), self.numbers))):
            yield from made
        assert window.left in (0, self.source.rows), "fewer rows than were announced"


class WrappedWindow(SlidingWindow):
    """A window that reads above the image what lies at its bottom, and below what lies at its top: it is held."""

    def __init__(self, op: Window, source: Flow, banding: Banding, observer: Observer):
        super().__init__(op, source, banding, observer)
        self.held = source if isinstance(source, (HeldFlow, _Port)) else HeldFlow(source, banding, observer)

    def read(self, last: bool) -> Rows:
        above, below = self.op.rows
        top, bottom = self.held.edges(below, above)
        window = _WindowPosition(self.op, self.held.rows + above + below, self.observer, (0, 0))
        rows = chain([bottom], self.held.read(last), [top])
        del top, bottom
        for made in map(window.slide, balance(rows, self.numbers)):
            yield from made


class _WindowPosition:
    """A window on its way down, with the rows that it still needs.

    left    rows that are to come
    beyond  rows above and below these that it reads
    """

    def __init__(self, op: Window, rows: int, observer: Observer, beyond: tuple[int, int] | None = None):
        self.op, self.left, self.observer = op, rows, observer
        self.beyond = op.rows if beyond is None else beyond
        self.kept: Tensor | None = None
        self.carried = 0

    def slide(self, band: Tensor) -> Rows:
        """What can be made of a band and of those before it: one band, or none yet."""
        self._carry(band)
        self.left -= band.shape[ROWS]
        if self.kept is None and not self.left and self.beyond == self.op.rows:
            return drain([self.observer.run_op(self.op, apply_alone, band)])
        above, below = self.beyond[0] * (self.kept is None), self.beyond[1] * (not self.left)
        if self.kept is not None and self.kept.shape[ROWS]:
            band = torch.cat([self.kept, band], ROWS)
        return self._apply(pad_borders(band, (0, 0, above, below), self.op.border) if above or below else band)

    def _apply(self, x: Tensor) -> Rows:
        op = self.op
        steps = op.steps(x.shape[ROWS])
        used = steps * op.step
        self.kept = x.narrow(ROWS, used, x.shape[ROWS] - used).clone(memory_format=torch.channels_last)
        if not steps:
            return iter(())
        read = x.narrow(ROWS, 0, (steps - 1) * op.step + op.span)
        return drain([self.observer.run_op(op, apply_unpadded, read)])

    def _carry(self, band: Tensor) -> None:
        """Announces what is kept from band to band, also if there is one band only: plans count on a single one."""
        if not self.carried:
            self.carried = self.op.span * numbers_per_row(band)
            self.observer.carry(self.carried)


class ResidualSum(Flow):
    """body + skip. The skip reads what both share after the body has, so it is the one that lets go of it."""

    def __init__(self, op: Residual, source: Flow, banding: Banding, observer: Observer):
        self.op, self.held, self.observer = op, needs_whole_image(op.body), observer
        shared = HeldFlow(source, banding, observer) if self.held else source
        self.shared, self.ports = shared, (_Port(shared), _Port(shared))
        self.body = build_flow(op.body, self.ports[0], banding, observer)
        self.skip = build_flow(op.skip, self.ports[1], banding, observer)
        self.rows = self.body.rows
        self.late = banding.past if list_looks_ahead(op.body) else None
        self.behind = sum(count_behind(one) for one in op.body)
        self.carried = 0

    def read(self, last: bool) -> Rows:
        self.carried = 0
        if self.held:
            self.ports[1].final = last
        else:
            for port, rows in zip(self.ports, fork(map(self._carry, self.shared.read(last))), strict=True):
                port.given = rows
        if self.late:
            yield from add_late(self.op, self.late, self.body.read(last), self.skip.read(last))
            return
        skip = Reader(self.skip.read(last))
        yield from map(partial(_add_skip, self.op, skip), self.body.read(last))
        skip.finish()

    def _carry(self, band: Tensor) -> Tensor:
        """Announces the rows that the skip waits for: the windows of the body are so many rows behind."""
        if not self.carried:
            self.carried = self.behind * numbers_per_row(band)
            self.observer.carry(self.carried)
        return band


def _add_skip(op: Residual, skip: Reader, band: Tensor) -> Tensor:
    return add_skip(op, band, skip.read(band.shape[ROWS]))


class SideJoin(Flow):
    """The result of a side is read in the very rows of the image that it is joined to."""

    def __init__(self, op: SideInput, source: Flow, banding: Banding, observer: Observer):
        assert banding.side_input
        self.op, self.source, self.observer = op, source, observer
        far, self.near = split_side(op.side)
        self.side, self.keeps = build_flow(far, banding.side_input, banding, observer), bool(far and self.near)
        self.rows = source.rows

    def read(self, last: bool) -> Rows:
        side = RowByRow(self.side.read(last), self.near, self.observer, self.keeps)
        yield from map(partial(_join_side, self.op, side), self.source.read(last))
        side.finish()


def _join_side(op: SideInput, side: RowByRow, band: Tensor) -> Tensor:
    return apply_join(op, band, side.read(band.shape[ROWS]), in_place=True)


class _Port(Rereadable):
    """One of the two ways into a residual block."""

    def __init__(self, shared: Flow):
        self.shared, self.final, self.rows = shared, False, shared.rows
        self.given: Rows | None = None

    def moments(self) -> Moments:
        assert isinstance(self.shared, HeldFlow)
        return self.shared.moments()

    def edges(self, top: int, bottom: int) -> tuple[Tensor, Tensor]:
        assert isinstance(self.shared, HeldFlow)
        return self.shared.edges(top, bottom)

    def read(self, last: bool) -> Rows:
        if self.given is not None:
            rows, self.given = self.given, None
            return rows
        return self.shared.read(last and self.final)


def needs_whole_image(ops: Ops) -> bool:
    """Does any of these ops need the whole image before it gives the first row?"""
    return any(isinstance(op, (nn.GroupNorm, Global)) or wraps(op) for op in walk(ops))


def count_behind(op: AnyOp) -> int:
    """Rows that an op waits for before it makes its own, below the top of an image."""
    if isinstance(op, Near):
        return op.reach // 2
    return op.span - 1 if isinstance(op, Window) else 0


def wraps(op: AnyOp) -> bool:
    """Is it a window that reads above the image what lies at its bottom?"""
    return isinstance(op, Window) and op.wraps
