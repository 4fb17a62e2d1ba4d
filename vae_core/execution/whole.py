"""Run a network the ordinary way: the whole picture in memory, op after op.

Exactness of every other way of running is measured against this one.
"""

import torch
from torch import Tensor

from ..ops import Ops, Residual
from .watch import Watch

NOBODY = Watch()


def run(ops: Ops, x: Tensor, watch: Watch = NOBODY) -> Tensor:
    """x through all ops."""
    for op in ops:
        if isinstance(op, Residual):
            x = _residual(op, x, watch)
        else:
            watch.begins(op)
            x = op(x)
            watch.made(op, x)
    return x


def _residual(op: Residual, x: Tensor, watch: Watch) -> Tensor:
    skip = run(op.skip, x, watch)
    y = run(op.body, x, watch)
    del x
    return y + skip if torch.is_grad_enabled() else y.add_(skip)


def peak_bytes(ops: Ops, x: Tensor, held: int = 0) -> tuple[int, Tensor]:
    """(the most bytes of activations alive at once in `run(ops, x)`, its result); all on the meta device.

    Counts what the ops read and make; what a backend allocates inside an op is its own affair.
    `held` is what others keep alive meanwhile.
    """
    peak = held + x.nbytes
    for op in ops:
        if isinstance(op, Residual):
            skip_peak, skip = peak_bytes(op.skip, x, held)
            kept = held + x.nbytes + (0 if skip is x else skip.nbytes)
            body_peak, y = peak_bytes(op.body, x, kept)
            peak = max(peak, skip_peak, body_peak)
        else:
            y = op(x)
            peak = max(peak, held + x.nbytes + (0 if y is x else y.nbytes))
        x = y
    return peak, x
