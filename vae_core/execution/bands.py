"""Run a network on bands of rows, with the same result as running it whole.

Every op becomes a flow: something that can be read from the top of the picture to its end, band by band, and read again
if need be. Windows keep the few rows they still need. A group norm reads its flow twice, once for the statistics and
once for the picture; attention too. What is read more than once is held (`store`), or computed again.

A flow is told when it is read for the last time, so a held band goes when its last reader has it: while a residual
block's sum grows, the two pictures it is made of shrink. And whoever hands a band on keeps no hold of it: a generator
that waits would, by its variables, so bands pass through `map`, or out of a list.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops import Beside, Global, Op, Ops, Residual, Window
from .moments import Moments, added
from .rows import ROWS, Reader, Rows, balanced, forked, handed, height
from .store import Held, Store
from .watch import Watch


class Flow:
    """Bands of rows (1, C, rows, W) of a picture, from the top down."""

    def read(self, last: bool) -> Rows:
        """`last`: nobody will read it again. Bands are not to be written to but by in-place ops right after."""
        raise NotImplementedError


class Banding(NamedTuple):
    """How a network is run in bands.

    numbers  in one band, at every resolution: rows x width x channels
    store    where is held what is read again
    dropped  ids of group norms whose input is computed twice instead of held
    beside   what Besides look at; None: the source of the whole flow
    """

    numbers: int
    store: Store
    dropped: frozenset[int] = frozenset()
    beside: Flow | None = None


def flow(ops: Ops, source: Flow, banding: Banding, watch: Watch) -> Flow:
    """What the ops make of a source. `watch` is told of every band."""
    banding = banding if banding.beside else banding._replace(beside=source)
    made = source
    for op in ops:
        made = _step(op, made, banding, watch)
    return made


def _step(op: Op, source: Flow, banding: Banding, watch: Watch) -> Flow:
    if isinstance(op, Residual):
        return Sum(op, source, banding, watch)
    if isinstance(op, Beside):
        return Joined(op, source, banding, watch)
    if isinstance(op, nn.GroupNorm):
        return Normalised(op, _again(op, source, banding), watch)
    if isinstance(op, Global):
        return Attended(op, source, watch)
    if isinstance(op, Window):
        return Slid(op, source, banding, watch)
    return Each(op, source, banding, watch)


def _again(op: nn.GroupNorm, source: Flow, banding: Banding) -> "_ReadAgain":
    if isinstance(source, _ReadAgain):
        return source
    return Dropped(source) if id(op) in banding.dropped else Hold(source, banding)


class Source(Flow):
    """A tensor (1, C, H, W) that somebody else keeps."""

    def __init__(self, x: Tensor, banding: Banding):
        self.x, self.banding = x, banding

    def read(self, last: bool) -> Rows:
        return iter(self.x.split(height(self.x.shape[1] * self.x.shape[-1], self.banding.numbers), ROWS))


class Each(Flow):
    """Pointwise."""

    def __init__(self, op: Op, source: Flow, banding: Banding, watch: Watch):
        self.op, self.source, self.watch = op, source, watch
        growth = getattr(op, "growth", 1)
        self.numbers = max(1, int(banding.numbers / growth)) if growth > 1 else None

    def read(self, last: bool) -> Rows:
        rows = self.source.read(last)
        return map(self.made, balanced(rows, self.numbers) if self.numbers else rows)

    def made(self, band: Tensor) -> Tensor:
        self.watch.begins(self.op)
        y = self.op(band)  # type: ignore[operator]
        self.watch.made(self.op, y)
        return y


class Slid(Flow):
    """A window: rows it still needs are kept."""

    def __init__(self, op: Window, source: Flow, banding: Banding, watch: Watch):
        self.op, self.source, self.watch = op, source, watch
        self.numbers = max(1, int(banding.numbers / max(1, op.growth)))

    def read(self, last: bool) -> Rows:
        window = _Sliding(self.op, self.watch)
        for made in map(window.over, balanced(self.source.read(last), self.numbers)):
            yield from made
        yield from window.end()


class _Sliding:
    """A window on its way down, with the rows that it still needs."""

    def __init__(self, op: Window, watch: Watch):
        self.op, self.watch = op, watch
        self.kept: Tensor | None = None

    def over(self, band: Tensor) -> Rows:
        """What can be made of a band and of those before it: one band, or none yet."""
        if self.kept is None:
            return self._made(self.op.bordered(band, above=self.op.rows[0]))
        return self._made(torch.cat([self.kept, band], ROWS) if self.kept.shape[ROWS] else band)

    def end(self) -> Rows:
        """What is made of the last rows, and of what is seen below them."""
        assert self.kept is not None
        return self._made(self.op.bordered(self.kept, below=self.op.rows[1]))

    def _made(self, x: Tensor) -> Rows:
        op = self.op
        steps = max(0, (x.shape[ROWS] - op.span) // op.step + 1)
        used = steps * op.step
        self.kept = x.narrow(ROWS, used, x.shape[ROWS] - used).clone(memory_format=torch.channels_last)
        made: list[Tensor] = []
        if steps:
            self.watch.begins(op)
            made.append(op.within(x.narrow(ROWS, 0, (steps - 1) * op.step + op.span)))
            self.watch.made(op, made[0])
        return handed(made)


class _ReadAgain(Flow):
    """What may be read several times at no cost, and knows its moments."""

    def moments(self) -> Moments:
        raise NotImplementedError


class Hold(_ReadAgain):
    """A flow that is computed once and held in a store."""

    def __init__(self, source: Flow, banding: Banding):
        self.source: Flow | None = source
        self.banding = banding
        self.held: list[Held | None] = []  # None: let go of
        self.gone = 0  # bands that have been let go of, from the top
        self.passed: dict[int, int] = {}  # of every reader at work: the bands it needs no more
        self.final: int | None = None  # the reader who is the last
        self._moments: Moments | None = None

    def fill(self) -> None:
        if self.source is None:
            return
        source, self.source = self.source, None
        for band in balanced(source.read(last=True), self.banding.numbers):
            self._moments = added(self._moments, band)
            self.held.append(self.banding.store.put(band))
        self.banding.store.tidy()

    def moments(self) -> Moments:
        self.fill()
        assert self._moments is not None
        return self._moments

    def read(self, last: bool) -> Rows:
        self.fill()
        reader = len(self.passed) + 1
        self.passed[reader] = 0
        self.final = reader if last else self.final
        for i, held in enumerate(self.held):
            assert held is not None
            band = [held.get()]
            self.passed[reader] = i + 1  # what it has in its hands the store need not hold
            self._let_go()
            yield band.pop()

    def _let_go(self) -> None:
        """Of bands that the last reader has passed, and others who still read too."""
        while self.final and self.gone < min(self.passed.values()):
            held, self.held[self.gone] = self.held[self.gone], None
            assert held is not None
            held.release()
            self.gone += 1


class Dropped(_ReadAgain):
    """A flow that is computed again whenever it is read: time instead of memory."""

    def __init__(self, source: Flow):
        self.source = source
        self._moments: Moments | None = None

    def moments(self) -> Moments:
        if self._moments is None:
            for band in self.source.read(last=False):
                self._moments = added(self._moments, band)
        assert self._moments is not None
        return self._moments

    def read(self, last: bool) -> Rows:
        self.moments()
        return self.source.read(last)


class Normalised(Flow):
    """A group norm with the statistics of the whole picture."""

    def __init__(self, op: nn.GroupNorm, source: _ReadAgain, watch: Watch):
        self.op, self.source, self.watch = op, source, watch

    def read(self, last: bool) -> Rows:
        mean, var = self.source.moments().of_groups(self.op.num_groups)
        yield from map(partial(self.made, mean, var), self.source.read(last))

    def made(self, mean: Tensor, var: Tensor, band: Tensor) -> Tensor:
        op = self.op
        weight, bias = (None if p is None else p.to(mean.dtype) for p in (op.weight, op.bias))
        self.watch.begins(op)
        y = F.batch_norm(band, mean, var, weight, bias, eps=op.eps)
        self.watch.made(op, y)
        return y


class Attended(Flow):
    """What all pixels say is gathered first."""

    def __init__(self, op: Global, source: Flow, watch: Watch):
        self.op, self.source, self.watch = op, source, watch

    def read(self, last: bool) -> Rows:
        self.watch.begins(self.op)
        memory = self.op.gathered(self.op.remember(band) for band in self.source.read(last=False))
        yield from map(partial(self.made, memory), self.source.read(last))

    def made(self, memory: tuple[Tensor, ...], band: Tensor) -> Tensor:
        y = self.op.recall(band, memory)
        self.watch.made(self.op, y)
        return y


class Sum(Flow):
    """body + skip. The skip reads what both share after the body has, so it is the one that lets go of it."""

    def __init__(self, op: Residual, source: Flow, banding: Banding, watch: Watch):
        self.stops = stops(op.body)
        shared = Hold(source, banding) if self.stops else source
        self.shared, self.ports = shared, (_Port(shared), _Port(shared))
        self.body = flow(op.body, self.ports[0], banding, watch)
        self.skip = flow(op.skip, self.ports[1], banding, watch)

    def read(self, last: bool) -> Rows:
        if self.stops:
            self.ports[1].final = last
        else:
            for port, rows in zip(self.ports, forked(self.shared.read(last)), strict=True):
                port.rows = rows
        skip = Reader(self.skip.read(last))
        yield from map(partial(_added, skip), self.body.read(last))
        skip.finish()


def _added(skip: Reader, band: Tensor) -> Tensor:
    return band.add_(skip.read(band.shape[ROWS]))


class Joined(Flow):
    """What a Beside makes is read in the very rows of the picture it is joined to."""

    def __init__(self, op: Beside, source: Flow, banding: Banding, watch: Watch):
        assert banding.beside
        self.join, self.source, self.side = op.join, source, flow(op.side, banding.beside, banding, watch)

    def read(self, last: bool) -> Rows:
        side = Reader(self.side.read(last))
        yield from map(partial(_joined, self.join, side), self.source.read(last))
        side.finish()


def _joined(join: Callable[[Tensor, Tensor], Tensor], side: Reader, band: Tensor) -> Tensor:
    return join(band, side.read(band.shape[ROWS]))


class _Port(_ReadAgain):
    """One of the two ways into a residual block."""

    def __init__(self, shared: Flow):
        self.shared, self.final = shared, False
        self.rows: Rows | None = None

    def moments(self) -> Moments:
        assert isinstance(self.shared, Hold)
        return self.shared.moments()

    def read(self, last: bool) -> Rows:
        if self.rows is not None:
            rows, self.rows = self.rows, None
            return rows
        return self.shared.read(last and self.final)


def stops(ops: Ops) -> bool:
    """Does any of these ops need the whole picture before it gives the first row?"""
    return any(isinstance(op, (nn.GroupNorm, Global)) or (isinstance(op, Residual) and stops(op.body)) for op in ops)
