"""The same network at a smaller scale inside, so that fp16 holds what SDXL's VAE makes between its layers.

Whatever a norm reads is made SCALE times as large. What it makes stays the same, for a norm divides by the size of what
it reads. With x' = s x, mean' = s mean and var' = s^2 var:

    (x' - mean') / sqrt(var' + s^2 eps) = (x - mean) / sqrt(var + eps)        and of an RMS norm likewise

So its eps changes, and nothing after it. What norms read, the stream of residual blocks, is written by convolutions:
w x + b becomes (s w) x + s b where x is at its own scale, and w x' + s b where it is small already. Our own derivation;
which ops it concerns is read from any network's ops, so no family knows of it.

Multiplying by a power of two rounds nothing, but below 6e-5, where numbers in fp16 have fewer digits: measured on the
small networks of the tests and the built-in VAE, down to 2^-6 the error of fp16 stays what it is without.

Ops are rewritten for a run, as `fuse` does it; the weights of the VAE stay those of its file.
"""

from copy import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...ops import (
    Affine,
    AnyOp,
    Blocks,
    Conv2d,
    Conv3d,
    DoublingConv,
    Global,
    Nest,
    OneFrame,
    Op,
    Ops,
    Residual,
    SideInput,
    TimeConv,
    WidenedDoublingConv,
    declared,
    leaves,
    name_original,
    plus,
    share_numbers,
    times,
)

# The largest number reported from SDXL's decoder is 3.1e5, 5 times what fp16 holds:
# https://dev.to/elise_moreau/the-sdxl-vae-overflow-that-decoded-black-images-in-fp16-46g6. So there is room to 2.1e6.
SCALE = 2.0**-5
CONVS = (Conv2d, Conv3d, DoublingConv, OneFrame)


def computes_in_fp16(ops: Ops) -> bool:
    """Do these ops compute in fp16?"""
    return any(isinstance(op, CONVS) and op.weight.dtype is torch.float16 for op in leaves(ops))


def rescale(ops: Ops, scale: float = SCALE) -> Ops:
    """Ops that compute the same, with what norms read `scale` times as large; a power of two.

    Weights that are made for it live as long as what is returned.
    """
    return _rescale(ops, 1.0, 1.0, scale)


def _rescale(ops: Ops, now: float, end: float, scale: float) -> Ops:
    """now, end: how large what these ops read is to be taken, and what they make is to be; 1 or the scale."""
    result: list[AnyOp] = []
    for i, op in enumerate(ops):
        wanted = _wanted_scale(ops[i + 1 :], end, scale)
        if isinstance(op, Residual):
            made = wanted if op.skip else now
            result.append(Residual(_rescale(op.body, now, made, scale), _rescale(op.skip, now, made, scale)))
            now = made
        elif isinstance(op, SideInput) and op.join in (times, plus):
            result.append(SideInput(_rescale(op.side, 1.0, now if op.join is plus else 1.0, scale), op.join))
        elif isinstance(op, CONVS):
            result.append(_rescale_weights(op, wanted / now, wanted))
            now = wanted
        elif isinstance(op, TimeConv):
            result.append(_rescale_weights(op, 1.0, now))  # a first frame passes it as it is
        elif _is_norm(op) and now != 1:
            result.append(_rescale_norm(op, now))
            now = 1.0
        elif declared(op).keeps_scale:
            result.append(op)
        elif isinstance(op, (Blocks, Global)) and op.last_conv:
            result += [*_resize(now, 1.0), _rescale_projection(op, op.last_conv, wanted)]
            now = wanted
        else:
            alone = op.with_body(_rescale(op.body, 1.0, 1.0, scale)) if isinstance(op, Nest) else op
            result += [*_resize(now, 1.0), alone]
            now = 1.0
    return (*result, *_resize(now, end))


def _resize(now: float, to: float) -> Ops:
    return () if now == to else (Affine(to / now, 0.0),)


def _wanted_scale(ops: Ops, end: float, scale: float) -> float:
    """How large what these ops read should be made."""
    if not ops:
        return end
    op, after = ops[0], _wanted_scale(ops[1:], end, scale)
    if isinstance(op, Residual):
        inside = _wanted_scale(op.body, after, scale)
        takes_any = bool(op.skip) or isinstance(next(iter(ops[1:]), None), CONVS)
        return inside if takes_any else max(inside, after)  # without a shortcut of its own it passes what it reads
    if _is_norm(op):
        return scale
    passes = isinstance(op, (*CONVS, TimeConv)) or (isinstance(op, SideInput) and op.join in (times, plus))
    return after if passes or declared(op).keeps_scale else 1.0


def _is_norm(op: AnyOp) -> bool:
    return isinstance(op, nn.GroupNorm) or declared(op).normalizes


def _rescale_norm(op: Any, scale: float) -> Op:
    """The norm for what is `scale` times as large as it should be."""
    if declared(op).normalizes:
        return name_original(op, op.absorb_scale(scale))
    norm: Any = copy(op) if isinstance(op, Op) else _GroupNorm(op)
    norm.eps *= scale**2
    return name_original(op, norm)


class _GroupNorm(Op, nn.GroupNorm):
    """A copy of a norm, of the same weights, that can name its original."""

    def __init__(self, norm: nn.GroupNorm):
        nn.GroupNorm.__init__(self, norm.num_groups, norm.num_channels, norm.eps, device="meta")
        share_numbers(norm, self)


def _rescale_projection(op: Any, last: str, made: float) -> Any:
    """Attention whose result is `made` times as large."""
    if made == 1:
        return op
    twin, conv = copy(op), _rescale_weights(op.get_submodule(last), made, made)
    twin._modules = {**op._modules, last: conv}
    twin.temporary_bytes = conv.temporary_bytes
    return name_original(op, twin)


def _rescale_weights(op: Any, weight: float, bias: float) -> Any:
    """A convolution of so many times the weight and the bias; itself if both are 1."""
    if weight == bias == 1:
        return op
    if isinstance(op, (OneFrame, WidenedDoublingConv)):
        twin: Any = copy(op) if weight == 1 else op.change(partial(torch.mul, other=weight))
        twin.bias = _multiply(op.bias, bias)
    else:
        twin = copy(op)
        new = {"weight": _multiply(op.weight, weight), "bias": _multiply(op.bias, bias)}
        if isinstance(op, nn.Module):
            twin._parameters = new  # the copy's own: the old dictionary is the VAE's
        else:
            twin.__dict__ |= new
    kept = declared(op).temporary_bytes  # by the ops as the network gave them, while it runs
    made = [
        new.nbytes
        for new, old in ((twin.weight, op.weight), (twin.bias, op.bias))
        if new is not None and new is not old
    ]
    twin.temporary_bytes = kept + sum(made)
    return name_original(op, twin)


def _multiply(x: Tensor | None, by: float) -> Tensor | None:
    return x if x is None or by == 1 else x * by
