"""Run a network the ordinary way: the whole picture in memory, op after op.

Exactness of every other way of running is measured against this one.
"""

import torch
from torch import Tensor

from ..ops import Beside, Ops, Residual
from .watch import Watch

NOBODY = Watch()


def run(ops: Ops, x: Tensor, watch: Watch = NOBODY, beside: Tensor | None = None) -> Tensor:
    """x through all ops. `beside`: what Besides look at; None: x, as it is now."""
    beside = x if beside is None else beside
    for op in ops:
        if isinstance(op, Residual):
            x = _residual(op, x, watch, beside)
        elif isinstance(op, Beside):
            x = op.join(x, run(op.side, beside, watch, beside))
        else:
            watch.begins(op)
            x = op(x)
            watch.made(op, x)
    return x


def _residual(op: Residual, x: Tensor, watch: Watch, beside: Tensor) -> Tensor:
    skip = run(op.skip, x, watch, beside)
    y = run(op.body, x, watch, beside)
    del x
    return y + skip if torch.is_grad_enabled() else y.add_(skip)


def peak_bytes(ops: Ops, x: Tensor, held: int = 0, beside: Tensor | None = None) -> tuple[int, Tensor]:
    """(the most bytes of activations alive at once in `run(ops, x)`, its result); all on the meta device.

    Counts what the ops read and make; what a backend allocates inside an op is its own affair.
    `held` is what others keep alive meanwhile.
    """
    beside = x if beside is None else beside
    peak = held + x.nbytes
    for op in ops:
        if isinstance(op, Residual):
            skip_peak, skip = peak_bytes(op.skip, x, held, beside)
            kept = held + x.nbytes + (0 if skip is x else skip.nbytes)
            body_peak, y = peak_bytes(op.body, x, kept, beside)
            peak = max(peak, skip_peak, body_peak)
        elif isinstance(op, Beside):
            side_peak, side = peak_bytes(op.side, beside, held + x.nbytes, beside)
            y = op.join(x, side)
            peak = max(peak, side_peak)
        else:
            y = op(x)
            peak = max(peak, held + x.nbytes + (0 if y is x else y.nbytes))
        x = y
    return peak, x
