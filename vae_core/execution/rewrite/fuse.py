"""The same network in fewer steps: ops that are cheaper together than one after the other. In fp16 also `rescale`."""

from ...ops import Conv2d, DoublingConv, Op, Ops, Residual, SideInput, Upsample2x
from .rescale_fp16 import computes_in_fp16, rescale


def fuse(ops: Ops) -> Ops:
    """Ops that compute the same. Weights that are made for it live as long as what is returned."""
    return _fuse(rescale(ops) if computes_in_fp16(ops) else ops)


def _fuse(ops: Ops) -> Ops:
    result: list[Op] = []
    for op in ops:
        if isinstance(op, Residual):
            result.append(Residual(_fuse(op.body), _fuse(op.skip)))
        elif isinstance(op, SideInput):
            result.append(SideInput(_fuse(op.side), op.join))
        elif isinstance(op, Conv2d) and result and isinstance(result[-1], Upsample2x) and _keeps_size(op):
            result[-1] = DoublingConv(op)
        else:
            result.append(op)
    return tuple(result)


def _keeps_size(op: Conv2d) -> bool:
    """A 3 x 3 convolution of stride 1, zeros beyond the borders; in half precision the summed taps would be rounded
    once more (1.13 times the error of a small network in bf16)."""
    usual = (op.rows, op.span, op.step, op.groups, op.border) == ((1, 1), 3, 1, 1, "constant")
    return usual and op.weight.dtype.itemsize > 2
