"""Run a network the ordinary way: the whole picture in memory, op after op.

Exactness of every other way of running is measured against this one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..ops import Op, Ops, Residual

OnOp = Callable[[Op], None]


def run(ops: Ops, x: Tensor, on_op: OnOp | None = None) -> Tensor:
    """x through all ops. `on_op(op)` is called before each leaf op and may raise to stop the run."""
    for op in ops:
        if isinstance(op, Residual):
            x = _residual(op, x, on_op)
        else:
            if on_op:
                on_op(op)
            x = op(x)
    return x


def _residual(op: Residual, x: Tensor, on_op: OnOp | None) -> Tensor:
    skip = run(op.skip, x, on_op)
    y = run(op.body, x, on_op)
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
