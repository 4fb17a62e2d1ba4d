"""Nearest-neighbour doubling and the 3 x 3 convolution after it as one op, also in half precision.

The op has sums of taps for weights (`DoublingConv`). In fp32 and fp64 they are as exact as the taps. In half precision
a sum of rounded taps would be rounded once more: up to 1.08 times the error of a whole run, measured on published sizes
(benchmarks/doubling.py). Summed from numbers of more digits and rounded once it is 1.04 times at most. So the
numbers that weights had before they were rounded are kept for these convolutions, as buffers that are saved nowhere:
21 MB of an SD-class decoder. If there are none, because the file itself is in half precision, the two ops stay two;
but not on a CPU that computes half precision in fp32. There the sums are in fp32 as well and never rounded, so of any
weight they are as exact as the weight (`WidenedDoublingConv`).

Others may write to weights after they are loaded, as patches and LoRAs do. So before every run the kept numbers are
rounded and compared with the weights, bit for bit. A network in which one differs runs by its weights alone.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import TypeGuard

import torch
from torch import Tensor

from ..devices import processor
from ..ops import AnyOp, Conv2d, DoublingConv, Ops, Upsample2x, WidenedDoublingConv, map_ops
from .blocks.base import Network
from .blocks.half import Half

Numbers = Mapping[int, Tensor]  # id of a weight -> the same before it was rounded
Joined = tuple[type[DoublingConv] | None, ...]  # what each doubling and its convolution are joined to, in order


def list_ops(network: Network, half: Half, masked: bool = False, grad: bool = False) -> Ops:
    """The ops of a half; in half precision with those doublings joined that round no more than the two ops.

    masked: of a decoder beside an image and its mask. On a GPU this waits once, for whether weights are as they were.
    grad: of a run that records gradients, which widens nothing
    """
    ops = _list_apart(network, half, masked)
    if half is Half.ENCODER:
        return ops
    unrounded = _list_unrounded(ops)
    known = {id(conv) for conv in unrounded} if _are_unchanged(unrounded) else frozenset[int]()

    def choose(conv: Conv2d) -> DoublingConv | None:
        before = conv.unrounded if id(conv) in known else None
        if not grad and _is_widened(conv.weight):
            return WidenedDoublingConv(conv, before)
        return None if before is None or not _sums_in_fp32(conv.weight) else DoublingConv(conv, before)

    return join_doublings(ops, choose)


def list_planned_ops(twin: Network, half: Half, joined: Joined, masked: bool = False) -> Ops:
    """What `list_ops` gives for the network whose twin this is, on the meta device. joined: see `find_joined`."""
    kinds = iter(joined)

    def choose(conv: Conv2d) -> DoublingConv | None:
        kind = next(kinds, None)
        return kind and kind(conv)

    return join_doublings(_list_apart(twin, half, masked), choose)


def find_joined(ops: Ops) -> Joined:
    """The op to which `list_ops` has joined each doubling, in the order of `join_doublings`; None: it has not."""
    found: list[type[DoublingConv] | None] = []

    def note(ops: Ops) -> Ops:
        for before, op in pairwise((None, *ops)):
            if isinstance(op, DoublingConv):
                found.append(type(op))
            elif _is_doubled(op, before):
                found.append(None)
        return ops

    map_ops(ops, note)
    return tuple(found)


def join_doublings(ops: Ops, choose: Callable[[Conv2d], DoublingConv | None]) -> Ops:
    """Each doubling and the convolution after it as the op that `choose` makes of the latter; None: as they are."""

    def join(ops: Ops) -> Ops:
        result: list[AnyOp] = []
        for op in ops:
            before = result[-1] if result else None
            if _is_doubled(op, before) and (both := choose(op)) is not None:
                result[-1] = both
            else:
                result.append(op)
        return tuple(result)

    return map_ops(ops, join)


def join_exactly(conv: Conv2d) -> DoublingConv | None:
    """If its sums are as exact as the weight itself: in fp32 and fp64."""
    return DoublingConv(conv) if conv.weight.dtype.itemsize > 2 else None


def keep_unrounded(network: Network, numbers: Numbers) -> None:
    """Keep what the weights of doublings were before they were rounded. None is kept that has no more digits.

    numbers: on any device. What was kept before of a weight that is not among them is kept on.
    """
    for conv in list_doubled(network) if numbers else ():
        if id(conv.weight) in numbers:
            conv.unrounded = _find_more_digits(numbers[id(conv.weight)].detach(), conv.weight)


def list_weights(network: Network) -> dict[str, Tensor]:
    """Its state dict, with what is known of weights before they were rounded in their places."""
    names = {id(tensor): name for name, tensor in network.state_dict(keep_vars=True).items()}
    known = _list_unrounded(network.decode_ops())
    before = {names[id(conv.weight)]: conv.unrounded for conv in known if conv.unrounded is not None}
    return network.state_dict() | before if _are_unchanged(known) else network.state_dict()


def list_doubled(network: Network) -> list[Conv2d]:
    """The decoder's convolutions that come after a doubling, each once."""
    found = (*_find_doubled(network.decode_ops()), *_find_doubled(network.masked_decode_ops()))
    return list({id(conv): conv for conv in found}.values())


def _find_more_digits(before: Tensor, weight: Tensor) -> Tensor | None:
    if weight.dtype.itemsize > 2 or torch.finfo(before.dtype).eps >= torch.finfo(weight.dtype).eps:
        return None
    kept = before.reshape(weight.shape).to(weight.device, torch.float32, copy=True)  # not on the map of a file
    return kept if bool((kept != kept.to(weight.dtype)).any()) else None


def _find_doubled(ops: Ops) -> list[Conv2d]:
    found: list[Conv2d] = []
    join_doublings(ops, found.append)
    return found


def _list_unrounded(ops: Ops) -> list[Conv2d]:
    return [conv for conv in _find_doubled(ops) if _is_known(conv)]


def _is_known(conv: Conv2d) -> bool:
    """Are the numbers before rounding? Not if others have cast them, and so rounded, or have moved the weight alone."""
    weight, kept = conv.weight, conv.unrounded
    known = kept is not None and kept.dtype is torch.float32 and kept.device == weight.device
    return known and weight.dtype.itemsize == 2


def _is_widened(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype.itemsize == 2 and processor.is_faster_in_fp32(weight.dtype)


def _sums_in_fp32(weight: Tensor) -> bool:
    """Does a transposed convolution in half precision? On a processor without instructions for it torch's does not."""
    if weight.device.type != "cpu":
        return True
    bf16 = weight.dtype is torch.bfloat16
    own = torch.ops.mkldnn
    return bool(own._is_mkldnn_bf16_supported() if bf16 else own._is_mkldnn_fp16_supported())


def _list_apart(network: Network, half: Half, masked: bool) -> Ops:
    if half is Half.ENCODER:
        return network.encode_ops()
    return network.masked_decode_ops() if masked else network.decode_ops()


@torch.no_grad()
def _are_unchanged(convs: Iterable[Conv2d]) -> bool:
    """Are there any, and are their weights still what they were rounded to? One answer of the device for all."""
    same = [(conv.unrounded.to(conv.weight.dtype) == conv.weight).all() for conv in convs if conv.unrounded is not None]
    return bool(same) and (same[0].is_meta or bool(torch.stack(same).all()))


def _is_doubled(op: AnyOp | None, before: AnyOp | None) -> TypeGuard[Conv2d]:
    """Is `op` a 3 x 3 convolution of stride 1, with zeros beyond the borders, of what has been doubled `before` it?"""
    if not (isinstance(before, Upsample2x) and isinstance(op, Conv2d)):
        return False
    return (op.rows, op.span, op.step, op.groups, op.border) == ((1, 1), 3, 1, 1, "constant")
