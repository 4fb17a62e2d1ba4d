"""What torch's functions take on a CPU while they run, beside what they read and what they give.

A convolution is oneDNN's, for which the weights are laid out anew at each call, by torch in channels last (if they do
not lie so) and by oneDNN in its blocks; or torch's own, which unfolds what it reads into a column of taps for each
pixel of the result. Which of the two is it? See `ConvParams::use_mkldnn` and `_convolution` in
pytorch/aten/src/ATen/native/Convolution.cpp.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...devices import processor
from ...devices.dtypes import at_least_fp32
from ...ops.attention import is_worth_widening
from ...ops.channel_parts import BLOCK, count_channels
from ...ops.widening import WEIGHTS, count_at_once

CONVOLUTIONS = frozenset({"conv2d", "conv3d"})
TRANSPOSED = frozenset({"conv_transpose2d"})
CONVOLVING = CONVOLUTIONS | TRANSPOSED
OVER_FRAMES, ATTENTION, LINEAR = "conv3d", "scaled_dot_product_attention", "linear"
COUNTED = CONVOLVING | {ATTENTION, LINEAR}
LAYER_NORM, RMS_NORM = NORMS = ("layer_norm", "rms_norm")
FP32 = 4  # bytes
FEW = 20480  # numbers of an input for which torch leaves oneDNN alone
# oneDNN compiles a convolution for every shape that it reads, and it and ideep (torch's way to it) keep the latest 1024
# of them: 65 to 111 KiB each, the more the more channels, measured in fp32 and bf16.
COMPILED, KEPT = 92 * 2**10, 1024


def count_scratch(name: str, made: Tensor, args: Sequence[Any], taller: float = 1) -> int:
    """Bytes that the function of this name takes meanwhile on a CPU. args: its tensors; made: what it gives.

    taller: times x is what the run may read at once, of which x is the top.
    All on the meta device, (B, C, H, W) or (B, C, T, H, W).
    """
    if name not in COUNTED:
        return 0
    x = args[0]
    if is_widened(x.dtype):
        return _count_widened(name, made, args, taller)
    return _count_convolving(name, made, x, args[1], taller) if name in CONVOLVING else 0


def _count_convolving(name: str, made: Tensor, x: Tensor, weight: Tensor, taller: float) -> int:
    joined = count_joined(x)
    if name in CONVOLUTIONS and is_one_pixel(weight):
        return joined + weight.nbytes
    if is_for_onednn(x, weight, taller):
        lies_so = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
        return joined + (0 if lies_so else weight.nbytes) + count_blocked(weight)
    return joined + count_columns(name, made, x, weight) + weight.nbytes


def count_columns(name: str, made: Tensor, x: Tensor, weight: Tensor) -> int:
    """Bytes of what torch's own convolution unfolds: for each pixel of the smaller side all numbers that meet there."""
    pixels = made if name in CONVOLUTIONS else x
    return pixels.numel() // pixels.shape[1] * math.prod(weight.shape[1:]) * x.itemsize


def count_unfolded(name: str, made: Tensor, args: Sequence[Any]) -> int:
    """Bytes at most that this function takes meanwhile on a device that `unfolds` what convolutions read.

    Columns of one image, what is copied, and results that are added up tap by tap: plans in fp32 are of pairs of
    frames, as a CPU computes them, which have half of it.
    """
    if name not in CONVOLVING:
        return 0
    x, weight = args[:2]
    columns = 0 if math.prod(weight.shape[2:]) == 1 else count_columns(name, made, x, weight) // len(x)
    return columns + 2 * x.nbytes + 3 * made.nbytes + weight.nbytes


def _count_widened(name: str, made: Tensor, args: Sequence[Any], taller: float) -> int:
    """The same of what is widened to fp32, see ops/widening.py: what is read and made there, and weights."""
    x, weight = args[:2]
    if name == ATTENTION:
        return FP32 * sum(part.numel() for part in (*args[:3], made)) if is_worth_widening(weight) else 0
    channels = weight.shape[1 if name in TRANSPOSED else 0]  # of the result, a part of which is made at a time
    part = count_channels(channels, weight.numel(), WEIGHTS) / channels
    weights, blocked = (int(FP32 * n * part) for n in (weight.numel(), count_blocked(weight) // weight.itemsize))
    if name == LINEAR:
        return FP32 * int(x.numel() + made.numel() * part) + weights
    read, makes = _count_widened_rows(made, x, weight, part, taller)
    if name == OVER_FRAMES:  # in pairs of frames: what is made twice, and of three taps two sums
        return read + 2 * makes + (weights + blocked) * 5 // 3
    return read + makes + weights + blocked


def _count_widened_rows(made: Tensor, x: Tensor, weight: Tensor, part: float, taller: float) -> tuple[int, int]:
    """Bytes that are read at once, and made. part: of the channels of the result."""
    rows = x.shape[-2]
    steps = min(rows, made.shape[-2])
    row, read, makes = x.numel() // rows, x.numel() // steps, int(made.numel() * part) // steps
    n = count_at_once(int(steps * taller), read, makes)
    return FP32 * (n * read + row * (weight.shape[-2] - 1)), FP32 * n * makes


def count_of_norm(name: str, made: Tensor, shape: Sequence[int]) -> int:
    """Bytes that a norm over the last dimensions, which are of this shape, takes meanwhile on any device.

    A layer norm keeps two numbers of each pixel. An RMS norm is several functions, which make images in fp32 at least.
    """
    exact = at_least_fp32(made.dtype).itemsize
    pixels = made.numel() // math.prod(shape)
    if name == LAYER_NORM:
        return 2 * exact * pixels
    images = 2 if exact == made.itemsize else 3
    return exact * (images * made.numel() + pixels) - made.nbytes


def count_joined(x: Tensor) -> int:
    """Bytes of the copy that is made of some rows of several images, or of every other image: they lie apart."""
    return x.nbytes if len(x) > 1 and x.stride(0) * len(x) != x.numel() else 0


def find_forms(name: str, args: Sequence[Any], taller: float = 1) -> tuple[tuple[Any, ...], ...]:
    """What oneDNN compiles a convolution for: what it reads, its weights and its numbers; nothing: it does not run it.

    Twice if the result is made some channels at a time, and in the end fewer.
    """
    if name not in CONVOLVING or not is_for_onednn(args[0], args[1], taller):
        return ()
    x, weight, *rest = args
    form = name, x.shape, weight.shape, x.dtype, *(repr(arg) for arg in rest if not isinstance(arg, Tensor))
    if not is_widened(x.dtype) or not weight.shape[0] % count_channels(weight.shape[0], weight.numel(), WEIGHTS):
        return (form,)
    return form, (*form, "the rest")


def count_compiled(forms: int) -> int:
    """Bytes that oneDNN keeps of so many convolutions of different forms."""
    return COMPILED * min(forms, KEPT)


def is_widened(dtype: torch.dtype) -> bool:
    """Does this processor compute it in fp32?"""
    return dtype.itemsize == 2 and processor.is_faster_in_fp32(dtype)


def is_for_onednn(x: Tensor, weight: Tensor, taller: float = 1) -> bool:
    """Does oneDNN compute this convolution?"""
    dtype = torch.float32 if is_widened(x.dtype) else x.dtype
    return runs_in_onednn(dtype) and (len(x) > 1 or x.numel() * taller > FEW or weight.shape[-1] > 3)


def is_one_pixel(weight: Tensor) -> bool:
    return weight.shape[-1] == weight.shape[-2] == 1


def count_blocked(weight: Tensor) -> int:
    """Bytes of a weight whose channels are filled up to whole blocks."""
    channels = (n + -n % BLOCK for n in weight.shape[:2]) if weight.shape[1] > 1 else weight.shape[:2]
    return math.prod((*channels, *weight.shape[2:])) * weight.itemsize


def runs_in_onednn(dtype: torch.dtype) -> bool:
    """Does this processor compute convolutions in this dtype by oneDNN?"""
    if not torch.backends.mkldnn.is_available():
        return False
    asks = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
    return dtype is torch.float32 or (dtype in asks and bool(getattr(torch.ops.mkldnn, asks[dtype])()))
