"""Rewrite a network for a run: ops that are cheaper together than one after the other are fused, fp16 is rescaled."""

from collections.abc import Iterator
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
    TimeConv,
    add_silu,
    lay_out_weight,
    leaves,
    lies_so,
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
    """Lay out weights as convolutions read them: they would copy any other layout at every call.

    At the beginning, when a copy of the largest is no more than the run takes.
    """
    for weight, order in _list_layouts(ops):
        lay_out_weight(weight, order)


def count_copied(ops: Ops, single_frame: bool = False) -> int:
    """Bytes of the largest weight that is still to be laid out for a run: while it is copied there are two.

    single_frame: are images run, which read the weights of a VAE of clips otherwise than clips do?
    """
    to_lay_out = (weight for weight, order in _list_layouts(ops, single_frame) if not lies_so(weight, order))
    return max((weight.nbytes for weight in to_lay_out), default=0)


def _list_layouts(ops: Ops, single_frame: bool = False) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """The weights of convolutions on a GPU, and in which order of dimensions they are read there."""
    for op in leaves(ops):
        if isinstance(op, (Conv2d, nn.ConvTranspose2d)) and reads_channels_last(op.weight.device):
            yield op.weight, CHANNELS_LAST
        elif isinstance(op, (Conv3d, TimeConv)) and op.weight.device.type not in ("cpu", "meta"):
            order = op.order_weight(single_frame)
            yield from [(op.weight, order)] if order else []


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
