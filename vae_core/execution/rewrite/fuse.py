"""Rewrite a network for a run: ops that are cheaper together than one after the other are fused, fp16 is rescaled."""

from ...ops import CHANNELS_LAST, AnyOp, Conv2d, DoublingConv, Ops, Upsample2x, lay_out_weight, leaves, map_ops
from .rescale_fp16 import computes_in_fp16, rescale


def fuse(ops: Ops) -> Ops:
    """Ops that compute the same, (B, C, H, W) -> (B, C', H', W'), in the dtype of their weights.

    Weights that are made for it live as long as the returned ops. The numbers of the network's weights stay as they
    are; on a GPU they are laid out once as its convolutions read them.
    """
    lay_out_weights(ops)
    return map_ops(rescale(ops) if computes_in_fp16(ops) else ops, _fuse_doubling)


def lay_out_weights(ops: Ops) -> None:
    """Lay out weights on CUDA in channels last. cuDNN would copy any other layout at every call.

    Convolutions over several frames lay out their own, see ops/time.py.
    """
    for op in leaves(ops):
        if isinstance(op, Conv2d) and op.weight.device.type == "cuda":
            lay_out_weight(op.weight, CHANNELS_LAST)


def _fuse_doubling(ops: Ops) -> Ops:
    result: list[AnyOp] = []
    for op in ops:
        if isinstance(op, Conv2d) and result and isinstance(result[-1], Upsample2x) and _keeps_size(op):
            result[-1] = DoublingConv(op)
        else:
            result.append(op)
    return tuple(result)


def _keeps_size(op: Conv2d) -> bool:
    """Is it a 3 x 3 convolution of stride 1 with zeros beyond the borders, in fp32 or fp64?

    In half precision the summed taps would be rounded once more: 1.13 times the error of a small network in bf16.
    """
    usual = (op.rows, op.span, op.step, op.groups, op.border) == ((1, 1), 3, 1, 1, "constant")
    return usual and op.weight.dtype.itemsize > 2
