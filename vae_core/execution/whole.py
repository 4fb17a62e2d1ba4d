"""Run a network the ordinary way: the whole image in memory, op after op.

Exactness of every other way of running is measured against this one.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..ops import Beside, Global, Op, Ops, Residual, Temporal, has_besides
from .bands.state import Past
from .observer import Watch

NOBODY = Watch()


class Around(NamedTuple):
    """What a run has beside its ops and their input."""

    watch: Watch = NOBODY
    beside: Tensor | None = None
    past: Past | None = None

    def apply(self, op: Op, x: Tensor) -> Tensor:
        if self.past and isinstance(op, Temporal):
            return self.past.after(op, x)
        if self.past and isinstance(op, Global) and op.looks_back:
            return op.recall(x, self.past.joined(op, op.remember(x)))
        return op(x)  # type: ignore[operator]


def run(ops: Ops, x: Tensor, watch: Watch = NOBODY, beside: Tensor | None = None, past: Past | None = None) -> Tensor:
    """x through all ops.

    beside  what Besides look at; None: x, as it is now
    past    if x are the next frames of a clip: what is known of those before; it is brought up to date
    """
    return _run(ops, [x], Around(watch, x if beside is None and has_besides(ops) else beside, past))


def _run(ops: Ops, at: list[Tensor], around: Around) -> Tensor:
    """`at` holds the image alone: once an op has read it, nobody keeps it."""
    for op in ops:
        if isinstance(op, Residual):
            at.append(_residual(op, at, around))
        elif isinstance(op, Beside):
            assert around.beside is not None
            side = _run(op.side, [around.beside], around)
            at.append(op.join(at.pop(), side))
            del side
        else:
            around.watch.begins(op)
            at.append(around.apply(op, at.pop()))
            around.watch.made(op, at[0])
    return at.pop()


def _residual(op: Residual, at: list[Tensor], around: Around) -> Tensor:
    skip = _run(op.skip, at[:], around)
    y = _run(op.body, [at.pop()], around)
    return y + skip if torch.is_grad_enabled() else y.add_(skip)


def peak_bytes(
    ops: Ops, x: Tensor, kept: tuple[Tensor, ...] = (), beside: Tensor | None = None, past: Past | None = None
) -> tuple[int, Tensor]:
    """(the most bytes of activations alive at once in `run(ops, x)`, its result); all on the meta device.

    Counts what the ops read and make; what a backend allocates inside an op is its own affair.
    `kept` is what others keep alive meanwhile.
    """
    beside = x if beside is None else beside
    around = Around(past=past)
    peak = _bytes(x, *kept)
    for op in ops:
        if isinstance(op, Residual):
            skip_peak, skip = peak_bytes(op.skip, x, (x, *kept), beside, past)
            body_peak, y = peak_bytes(op.body, x, (skip, *kept), beside, past)
            peak = max(peak, skip_peak, body_peak)
        elif isinstance(op, Beside):
            side_peak, side = peak_bytes(op.side, beside, (x, *kept), beside, past)
            y = op.join(x, side)
            peak = max(peak, side_peak)
        else:
            y = around.apply(op, x)
            peak = max(peak, _bytes(x, y, *kept))
        x = y
    return peak, x


def _bytes(*tensors: Tensor) -> int:
    return sum(t.nbytes for t in {id(t): t for t in tensors}.values())
