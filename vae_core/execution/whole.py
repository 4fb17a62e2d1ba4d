"""Run a network the ordinary way: the whole image in memory, op after op.

Exactness of every other way of running is measured against this one.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..ops import Global, Op, Ops, Residual, SideInput, Temporal, has_side_inputs
from .bands.state import Past
from .observer import Observer

NOBODY = Observer()


class Around(NamedTuple):
    """What a run has beside its ops and their input."""

    observer: Observer = NOBODY
    side_input: Tensor | None = None
    past: Past | None = None

    def apply(self, op: Op, x: Tensor) -> Tensor:
        if self.past and isinstance(op, Temporal):
            return self.past.advance(op, x)
        if self.past and isinstance(op, Global) and op.looks_back:
            return op.recall(x, self.past.extend_memory(op, op.remember(x)))
        return op(x)  # type: ignore[operator]


def run(
    ops: Ops, x: Tensor, observer: Observer = NOBODY, side_input: Tensor | None = None, past: Past | None = None
) -> Tensor:
    """x through all ops.

    side_input  what SideInputs look at; None: x, as it is now
    past    if x are the next frames of a clip: what is known of those before; it is brought up to date
    """
    return _run(ops, [x], Around(observer, x if side_input is None and has_side_inputs(ops) else side_input, past))


def _run(ops: Ops, at: list[Tensor], around: Around) -> Tensor:
    """`at` holds the image alone: once an op has read it, nobody keeps it."""
    for op in ops:
        if isinstance(op, Residual):
            at.append(_residual(op, at, around))
        elif isinstance(op, SideInput):
            assert around.side_input is not None
            side = _run(op.side, [around.side_input], around)
            at.append(op.join(at.pop(), side))
            del side
        else:
            around.observer.begin_op(op)
            at.append(around.apply(op, at.pop()))
            around.observer.end_op(op, at[0])
    return at.pop()


def _residual(op: Residual, at: list[Tensor], around: Around) -> Tensor:
    skip = _run(op.skip, at[:], around)
    y = _run(op.body, [at.pop()], around)
    return y + skip if torch.is_grad_enabled() else y.add_(skip)


def peak_bytes(
    ops: Ops, x: Tensor, kept: tuple[Tensor, ...] = (), side_input: Tensor | None = None, past: Past | None = None
) -> tuple[int, Tensor]:
    """(the most bytes of activations alive at once in `run(ops, x)`, its result); all on the meta device.

    Counts what the ops read and make; what a backend allocates inside an op is its own affair.
    `kept` is what others keep alive meanwhile.
    """
    side_input = x if side_input is None else side_input
    around = Around(past=past)
    peak = _bytes(x, *kept)
    for op in ops:
        if isinstance(op, Residual):
            skip_peak, skip = peak_bytes(op.skip, x, (x, *kept), side_input, past)
            body_peak, y = peak_bytes(op.body, x, (skip, *kept), side_input, past)
            peak = max(peak, skip_peak, body_peak)
        elif isinstance(op, SideInput):
            side_peak, side = peak_bytes(op.side, side_input, (x, *kept), side_input, past)
            y = op.join(x, side)
            peak = max(peak, side_peak)
        else:
            y = around.apply(op, x)
            peak = max(peak, _bytes(x, y, *kept))
        x = y
    return peak, x


def _bytes(*tensors: Tensor) -> int:
    return sum(t.nbytes for t in {id(t): t for t in tensors}.values())
