"""Run a network on bands of rows, with the same result as running it whole.

Every op becomes a flow: something that can be read from the top of the image to its end, band by band, and read again
if need be. Windows keep the few rows they still need. A group norm reads its flow twice, once for the statistics and
once for the image; attention too. What is read more than once is held (`store`), or computed again.

A flow is told when it is read for the last time, so a held band goes when its last reader has it: while a residual
block's sum grows, the two images it is made of shrink. And whoever hands a band on keeps no hold of it: a generator
that waits would, by its variables, so bands pass through `map`, or out of a list.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...ops import Beside, Global, GroupNormOverFrames, Op, Ops, Residual, Temporal, Window
from ..observer import Watch
from .holding import Banding, Dropped, Flow, Hold, ReadAgain
from .moments import Moments
from .readers import ROWS, Reader, Rows, balanced, forked, handed, height, in_a_row
from .state import Past
from .stores import Held


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
        return Attended(op, source, banding.past if op.looks_back else None, watch)
    if isinstance(op, Window):
        return Slid(op, source, banding, watch)
    if isinstance(op, Temporal) and banding.past:
        return Since(op, source, banding, watch)
    return Each(op, source, banding, watch)


def _again(op: nn.GroupNorm, source: Flow, banding: Banding) -> "ReadAgain":
    if isinstance(source, ReadAgain):
        return source
    return Dropped(source) if id(op) in banding.dropped else Hold(source, banding)


class Source(Flow):
    """A tensor (1, C, H, W), or (T, C, H, W), that somebody else keeps."""

    def __init__(self, x: Tensor, banding: Banding):
        self.x, self.banding, self.rows = x, banding, x.shape[ROWS]

    def read(self, last: bool) -> Rows:
        return iter(self.x.split(height(in_a_row(self.x), self.banding.numbers), ROWS))


class Each(Flow):
    """Pointwise."""

    def __init__(self, op: Op, source: Flow, banding: Banding, watch: Watch):
        self.op, self.source, self.watch = op, source, watch
        self.rows = getattr(op, "makes", 1) * source.rows
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
    """A window: rows it still needs are kept, the image's borders are zeros."""

    def __init__(self, op: Window, source: Flow, banding: Banding, watch: Watch):
        self.op, self.source, self.watch = op, source, watch
        self.rows = op.makes * op.steps(source.rows + sum(op.rows))
        self.numbers = max(1, int(banding.numbers / max(1, op.growth)))

    def read(self, last: bool) -> Rows:
        window = _Sliding(self.op, self.source.rows, self.watch)
        for made in map(window.over, balanced(self.source.read(last), self.numbers)):
            yield from made
        assert not window.left, "fewer rows than were announced"


class _Sliding:
    """A window on its way down, with the rows that it still needs. left: rows that are to come."""

    def __init__(self, op: Window, rows: int, watch: Watch):
        self.op, self.left, self.watch = op, rows, watch
        self.kept: Tensor | None = None

    def over(self, band: Tensor) -> Rows:
        """What can be made of a band and of those before it: one band, or none yet."""
        self.left -= band.shape[ROWS]
        if self.kept is None and not self.left:
            return self._told(partial(self.op, band))  # type: ignore[operator]
        above, below = self.op.rows[0] * (self.kept is None), self.op.rows[1] * (not self.left)
        if self.kept is not None and self.kept.shape[ROWS]:
            band = torch.cat([self.kept, band], ROWS)
        return self._made(F.pad(band, (0, 0, above, below), mode=self.op.border) if above or below else band)

    def _made(self, x: Tensor) -> Rows:
        op = self.op
        steps = op.steps(x.shape[ROWS])
        used = steps * op.step
        self.kept = x.narrow(ROWS, used, x.shape[ROWS] - used).clone(memory_format=torch.channels_last)
        return self._told(lambda: op.within(x.narrow(ROWS, 0, (steps - 1) * op.step + op.span))) if steps else iter(())

    def _told(self, run: Callable[[], Tensor]) -> Rows:
        self.watch.begins(self.op)
        made = [run()]
        self.watch.made(self.op, made[0])
        return handed(made)


class Since(Flow):
    """A temporal op on a part of a clip: beside each band it reads what is known of its rows."""

    def __init__(self, op: Temporal, source: Flow, banding: Banding, watch: Watch):
        assert banding.past
        self.op, self.source, self.past, self.watch = op, source, banding.past, watch
        self.rows = source.rows
        self.numbers = max(1, int(banding.numbers / op.growth))

    def read(self, last: bool) -> Rows:
        known, kept = self.past.taken(self.op), list[Held]()
        rows = balanced(self.source.read(last), self.numbers)
        yield from map(partial(self.made, Reader(known) if known else None, kept), rows)
        self.past.keep(self.op, kept)

    def made(self, known: Reader | None, kept: list[Held], band: Tensor) -> Tensor:
        self.watch.begins(self.op)
        y, past = self.op.after(band, known.read(band.shape[ROWS]) if known else None)
        kept.append(self.past.put(past))
        self.watch.made(self.op, y)
        return y


class Normalised(Flow):
    """A group norm with the statistics of the whole image: of each frame, or of all frames of a clip."""

    def __init__(self, op: nn.GroupNorm, source: ReadAgain, watch: Watch):
        self.op, self.source, self.watch, self.rows = op, source, watch, source.rows

    def read(self, last: bool) -> Rows:
        moments = self.source.moments()
        moments = moments.over_frames() if isinstance(self.op, GroupNormOverFrames) else moments
        mean, var = moments.of_groups(self.op.num_groups)
        yield from map(partial(self.made, mean, var), self.source.read(last))

    def made(self, mean: Tensor, var: Tensor, band: Tensor) -> Tensor:
        """mean, var: (1, C), or (T, C) with each frame's own."""
        self.watch.begins(self.op)
        y = self._one(mean[0], var[0], band) if len(mean) == 1 else self._each(mean, var, band)
        self.watch.made(self.op, y)
        return y

    def _one(self, mean: Tensor, var: Tensor, band: Tensor) -> Tensor:
        op = self.op
        weight, bias = (None if p is None else p.to(mean.dtype) for p in (op.weight, op.bias))
        return F.batch_norm(band, mean, var, weight, bias, eps=op.eps)

    def _each(self, mean: Tensor, var: Tensor, band: Tensor) -> Tensor:
        return torch.cat([self._one(*args) for args in zip(mean, var, band.split(1), strict=True)])


class Attended(Flow):
    """What all pixels say is gathered first, those of earlier frames too if it looks back."""

    def __init__(self, op: Global, source: Flow, past: Past | None, watch: Watch):
        self.op, self.source, self.past, self.watch = op, source, past, watch
        self.rows = source.rows

    def read(self, last: bool) -> Rows:
        self.watch.begins(self.op)
        memory = self.op.gathered(self.op.remember(band) for band in self.source.read(last=False))
        memory = self.past.joined(self.op, memory) if self.past else memory
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
        self.rows = self.body.rows

    def read(self, last: bool) -> Rows:
        if self.stops:
            self.ports[1].final = last
        else:
            for port, rows in zip(self.ports, forked(self.shared.read(last)), strict=True):
                port.given = rows
        skip = Reader(self.skip.read(last))
        yield from map(partial(_added, skip), self.body.read(last))
        skip.finish()


def _added(skip: Reader, band: Tensor) -> Tensor:
    return band.add_(skip.read(band.shape[ROWS]))


class Joined(Flow):
    """What a Beside makes is read in the very rows of the image it is joined to."""

    def __init__(self, op: Beside, source: Flow, banding: Banding, watch: Watch):
        assert banding.beside
        self.join, self.source, self.side = op.join, source, flow(op.side, banding.beside, banding, watch)
        self.rows = source.rows

    def read(self, last: bool) -> Rows:
        side = Reader(self.side.read(last))
        yield from map(partial(_joined, self.join, side), self.source.read(last))
        side.finish()


def _joined(join: Callable[[Tensor, Tensor], Tensor], side: Reader, band: Tensor) -> Tensor:
    return join(band, side.read(band.shape[ROWS]))


class _Port(ReadAgain):
    """One of the two ways into a residual block."""

    def __init__(self, shared: Flow):
        self.shared, self.final, self.rows = shared, False, shared.rows
        self.given: Rows | None = None

    def moments(self) -> Moments:
        assert isinstance(self.shared, Hold)
        return self.shared.moments()

    def read(self, last: bool) -> Rows:
        if self.given is not None:
            rows, self.given = self.given, None
            return rows
        return self.shared.read(last and self.final)


def stops(ops: Ops) -> bool:
    """Does any of these ops need the whole image before it gives the first row?"""
    return any(isinstance(op, (nn.GroupNorm, Global)) or (isinstance(op, Residual) and stops(op.body)) for op in ops)
