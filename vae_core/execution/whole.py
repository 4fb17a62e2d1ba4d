"""Run a network the ordinary way: the whole picture in memory, op after op.

Exactness of every other way of running is measured against this one.
"""

import torch
from torch import Tensor

from ..ops import Beside, Ops, Residual, has_besides
from .watch import Watch

NOBODY = Watch()


def run(ops: Ops, x: Tensor, watch: Watch = NOBODY, beside: Tensor | None = None) -> Tensor:
    """x through all ops. `beside`: what Besides look at; None: x, as it is now."""
    return _run(ops, [x], watch, x if beside is None and has_besides(ops) else beside)


def _run(ops: Ops, at: list[Tensor], watch: Watch, beside: Tensor | None) -> Tensor:
    """`at` holds the picture alone: once an op has read it, nobody keeps it."""
    for op in ops:
        if isinstance(op, Residual):
            at.append(_residual(op, at, watch, beside))
        elif isinstance(op, Beside):
            assert beside is not None
            side = _run(op.side, [beside], watch, beside)
            at.append(op.join(at.pop(), side))
            del side
        else:
            watch.begins(op)
            at.append(op(at.pop()))
            watch.made(op, at[0])
    return at.pop()


def _residual(op: Residual, at: list[Tensor], watch: Watch, beside: Tensor | None) -> Tensor:
    skip = _run(op.skip, at[:], watch, beside)
    y = _run(op.body, [at.pop()], watch, beside)
    return y + skip if torch.is_grad_enabled() else y.add_(skip)


def peak_bytes(ops: Ops, x: Tensor, kept: tuple[Tensor, ...] = (), beside: Tensor | None = None) -> tuple[int, Tensor]:
    """(the most bytes of activations alive at once in `run(ops, x)`, its result); all on the meta device.

    Counts what the ops read and make; what a backend allocates inside an op is its own affair.
    `kept` is what others keep alive meanwhile.
    """
    beside = x if beside is None else beside
    peak = _bytes(x, *kept)
    for op in ops:
        if isinstance(op, Residual):
            skip_peak, skip = peak_bytes(op.skip, x, (x, *kept), beside)
            body_peak, y = peak_bytes(op.body, x, (skip, *kept), beside)
            peak = max(peak, skip_peak, body_peak)
        elif isinstance(op, Beside):
            side_peak, side = peak_bytes(op.side, beside, (x, *kept), beside)
            y = op.join(x, side)
            peak = max(peak, side_peak)
        else:
            y = op(x)
            peak = max(peak, _bytes(x, y, *kept))
        x = y
    return peak, x


def _bytes(*tensors: Tensor) -> int:
    return sum(t.nbytes for t in {id(t): t for t in tensors}.values())
