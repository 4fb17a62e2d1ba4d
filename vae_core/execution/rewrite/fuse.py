"""Rewrite a network for a run: ops that are cheaper together than one after the other are fused, fp16 is rescaled."""

from copy import copy
from typing import Any

from torch import Tensor, nn

from ...families.doubling import join_doublings, join_exactly
from ...ops import (
    CHANNELS_LAST,
    AnyOp,
    Conv2d,
    Conv3d,
    Ops,
    Residual,
    add_silu,
    lay_out_clip_weight,
    lay_out_weight,
    leaves,
    map_ops,
    name_original,
    reads_channels_last,
    silu,
)
from .pixel_norms import join_pixel_norms
from .rescale_fp16 import computes_in_fp16, rescale


def fuse(ops: Ops, for_kernels: bool | None = None) -> Ops:
    """Ops that compute the same, (B, C, H, W) -> (B, C', H', W'), in the dtype of their weights.

    Weights that are made for it live as long as the returned ops. The numbers of the network's weights stay as they
    are; on a GPU they are laid out once as its convolutions read them.

    for_kernels: are ops joined that `vae_core.kernels` computes at once? By default those on CUDA.
    """
    lay_out_weights(ops)
    fused = join_doublings(rescale(ops) if computes_in_fp16(ops) else ops, join_exactly)
    fused = join_pixel_norms(fused)
    joins = _is_on_cuda(ops) if for_kernels is None else for_kernels
    return map_ops(map_ops(fused, _fuse_silu), _fuse_bias) if joins else fused


def _is_on_cuda(ops: Ops) -> bool:
    return any(isinstance(op, Conv2d) and op.weight.device.type == "cuda" for op in leaves(ops))


def lay_out_weights(ops: Ops) -> None:
    """Lay out weights in channels last where convolutions read them so: they would copy any other at every call.

    At the beginning, when a copy of the largest is no more than the run takes.
    """
    for op in leaves(ops):
        if isinstance(op, (Conv2d, nn.ConvTranspose2d)) and reads_channels_last(op.weight.device):
            lay_out_weight(op.weight, CHANNELS_LAST)
        elif isinstance(op, Conv3d) and reads_channels_last(op.weight.device):
            lay_out_clip_weight(op)


def count_copied(ops: Ops) -> int:
    """Bytes of the largest weight that is still to be laid out in channels last: while it is copied there are two."""
    convs = (op for op in leaves(ops) if isinstance(op, (Conv2d, Conv3d, nn.ConvTranspose2d)))
    weights = (op.weight for op in convs if reads_channels_last(op.weight.device))
    return max((weight.nbytes for weight in weights if _lies_as_in_files(weight)), default=0)


def _lies_as_in_files(weight: Tensor) -> bool:
    """Of several numbers for each pixel or each channel: otherwise all layouts are one."""
    return weight.is_contiguous() and weight.shape[1] > 1 and weight[0, 0].numel() > 1


def _fuse_silu(ops: Ops) -> Ops:
    result: list[AnyOp] = []
    for op in ops:
        if op is silu and result and isinstance(result[-1], nn.GroupNorm):
            result[-1] = add_silu(result[-1])
        else:
            result.append(op)
    return tuple(result)


def _fuse_bias(ops: Ops) -> Ops:
    return tuple(_move_bias(op, op.body[-1]) if isinstance(op, Residual) and op.body else op for op in ops)


def _move_bias(op: Residual, last: AnyOp) -> Residual:
    """The bias of the convolution that ends a body is added with the skip, so half precision rounds once less."""
    if not isinstance(last, Conv2d) or last.bias is None:
        return op
    conv: Any = copy(last)
    conv._parameters = {"weight": last.weight, "bias": None}  # the copy's own: the old dictionary is the VAE's
    return Residual((*op.body[:-1], name_original(last, conv)), op.skip, last.bias)
