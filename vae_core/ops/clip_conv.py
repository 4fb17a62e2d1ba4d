"""Convolutions over frames, rows and columns at once: by the backend, frame by frame, or tap by tap.

On a CPU a convolution over three frames is a sum of three convolutions of images, or for every two frames of four: by
Winograd's way to filter (Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", F(2, 3)), applied to
time alone. So it takes two thirds of the multiplications, and its factors of 1/2 cost no digits.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..devices.dtypes import at_least_fp32
from .channel_parts import by_channels, count_channels
from .faults import computes_clips_badly
from .layouts import reads_channels_last
from .rows import lay_out_weight
from .widening import Steps, as_dtype, conv2d, make_room, widen_rows, widens

# How weights (c_out, c_in, frames, k, k) lie in memory, the outermost dimension first: as cuDNN reads them, and so that
# the channels of all frames are those of one.
CHANNELS_LAST_3D = (0, 2, 3, 4, 1)
FRAMES_IN_CHANNELS = (0, 3, 4, 2, 1)

# In pairs of frames weights are summed at each call, and what is read and made is gone through once more. Measured on a
# CPU: that is worth it for so many channels on either side, and for so many pixels of all first frames of the pairs.
CHANNELS, PIXELS = 32, 512
# Bytes of weights that are summed at once, of whole blocks of channels of the result: more of them would leave the
# caches before they are used. And of weights that a backend lays out anew for a call, beside other sums.
MADE_AT_ONCE, LARGE = 4 * 2**20, 16 * 2**20
SUMMED_PIXELS = 128  # for which a sum of three taps and one convolution are quicker than three


def convolve_clip(
    conv: nn.Conv3d, x: Tensor, padding: tuple[int, int, int] = (0, 0, 0),
    in_fp32: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """A convolution over the frames of a clip, (T, C, H, W) -> (T', C', H', W')

    padding  zeros before and after the frames, above and below, at the left and the right
    in_fp32  how it is computed of some rows that were widened, of which none are padded; None: by the backend
    """
    ends, _, beside = padding
    if widens(x):
        return _widen_clip(
            conv, x, padding, in_fp32 or (lambda rows: _convolve_directly(conv, rows, (ends, 0, beside)))
        )
    if computes_clips_badly(x):
        return _convolve_frames(conv, F.pad(x, (0,) * 6 + (ends, ends)) if ends else x, padding[1:])
    if order := order_clip_weight(conv.weight):
        lay_out_weight(conv.weight, order)
    return _convolve_directly(conv, x, padding)


def order_clip_weight(weight: Tensor) -> tuple[int, ...] | None:
    """How `convolve_clip` reads it with cuDNN, which would copy any other layout at every call; None: in any way."""
    if not reads_channels_last(weight.device):
        return None
    return FRAMES_IN_CHANNELS if computes_clips_badly(weight) else CHANNELS_LAST_3D


def _widen_clip(
    conv: nn.Conv3d, x: Tensor, padding: tuple[int, int, int], compute: Callable[[Tensor], Tensor]
) -> Tensor:
    (frames, span, _), (skips, down, _), (ends, around, beside) = conv.kernel_size, conv.stride, padding
    steps = Steps(span, down, around=around)
    size = steps.count(x.shape[-2]), steps.count(x.shape[-1], beside)
    y = make_room(x, ((len(x) + 2 * ends - frames) // skips + 1, conv.out_channels, *size))
    widen_rows(x, y, steps, compute)
    return y


def _convolve_directly(conv: nn.Conv3d, x: Tensor, padding: tuple[int, int, int]) -> Tensor:
    weight, bias = as_dtype(conv.weight, conv.bias, x.dtype)
    return F.conv3d(x.transpose(0, 1)[None], weight, bias, conv.stride, padding)[0].transpose(0, 1)


def _convolve_frames(conv: nn.Conv3d, x: Tensor, padding: tuple[int, ...]) -> Tensor:
    """One frame of the result after the other, as a convolution of an image with the channels of all frames it sees.

    Its sums are rounded once, as those of `conv3d`; tap by tap the error would be 1.4 times as large.
    """
    (frames, *_), (step, *stride), c_out = conv.kernel_size, conv.stride, conv.out_channels
    lay_out_weight(conv.weight, FRAMES_IN_CHANNELS)
    weight = conv.weight.permute(FRAMES_IN_CHANNELS).flatten(3).permute(0, 3, 1, 2)
    y: Tensor | None = None
    for i, first in enumerate(range(0, len(x) - frames + 1, step)):
        seen = x[first : first + frames].permute(2, 3, 0, 1).flatten(2).permute(2, 0, 1)[None]
        made = F.conv2d(seen, weight, conv.bias, stride, padding)
        if y is None:
            shape = ((len(x) - frames) // step + 1, c_out, *made.shape[2:])
            y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        y[i] = made[0]
    assert y is not None, "fewer frames than the convolution sees"
    return y


def convolve_taps(
    taps: Sequence[Tensor], bias: Tensor | None, x: Tensor, stride: Sequence[int], pad: Sequence[int]
) -> Tensor:
    """A convolution over as many frames as there are taps, (T, C, H, W) -> (T', C', H', W'), as a sum over them.

    taps    (C', C, k, k) each
    stride  in time, of rows, of columns
    pad     zeros above and below, at the left and the right; none before and after the frames
    """
    if len(x) == len(taps) and shows_one_image(x):
        return convolve_summed(taps, bias, x[:1], stride[1:], pad)
    return by_channels(taps[0], partial(_convolve_some, taps, bias, x, stride, pad), LARGE)


def _convolve_some(
    taps: Sequence[Tensor], bias: Tensor | None, x: Tensor, stride: Sequence[int], pad: Sequence[int],
    channels: slice,
) -> Tensor:  # fmt: skip
    """As `convolve_taps`, for these channels of the result. A tap that meets frames of zeros adds nothing to them."""
    step, *in_space = stride
    made, empty = (len(x) - len(taps)) // step + 1, _count_empty(x[: len(taps) - 1])
    y: Tensor | None = None
    for i in reversed(range(len(taps))):
        met = max(0, -(-(empty - i) // step))  # the first frame of the result that this tap makes a difference to
        if y is not None and met >= made:
            break
        met, own = (0, bias) if y is None else (met, None)
        seen = x[i + met * step : i + (made - 1) * step + 1 : step]
        weight, own = as_dtype(taps[i][channels], None if own is None else own[channels], x.dtype)
        part = F.conv2d(seen, weight, own, in_space, pad)
        if y is None:
            y = part
        else:
            (y[met:] if met else y).add_(part)
    assert y is not None
    return y


def _count_empty(x: Tensor) -> int:
    """How many frames there are of zeros, from the first: those before the beginning of a clip. x: (T, C, H, W)"""
    if _is_unknown(x):
        return 0
    return next((i for i, frame in enumerate(x) if frame[:, :1, :1].any() or frame.any()), len(x))


def shows_one_image(x: Tensor) -> bool:
    """Are all frames the same, as before the beginning of a clip that repeats its first, and is that worth to be known?

    x: (T, C, H, W), T > 0
    """
    if _is_unknown(x) or len(x) == 1 or x.shape[-1] * x.shape[-2] < SUMMED_PIXELS or x.requires_grad:
        return False
    return all(torch.equal(frame[:, :1, :1], x[0, :, :1, :1]) and torch.equal(frame, x[0]) for frame in x[1:])


def _is_unknown(x: Tensor) -> bool:
    """Numbers that are not there, or far away; or that gradients are wanted of, be they zeros."""
    return x.device.type != "cpu" or torch.is_grad_enabled()


def suits_pairs(conv: nn.Conv3d, x: Tensor) -> bool:
    """Is `convolve_pairs` quicker than `convolve_taps`? It records no gradients."""
    if x.device.type not in ("cpu", "meta") or torch.is_grad_enabled():
        return False
    if conv.kernel_size[0] != 3 or any(n > 1 for n in conv.stride):
        return False
    pixels = (len(x) - 2) // 2 * x.shape[-1] * x.shape[-2]
    return min(conv.weight.shape[:2]) >= CHANNELS and pixels >= PIXELS


def convolve_pairs(taps: Sequence[Tensor], bias: Tensor | None, x: Tensor, pad: Sequence[int]) -> Tensor:
    """As `convolve_taps` with three taps and stride 1, two frames of the result at a time."""
    return by_channels(taps[0], partial(_convolve_some_in_pairs, taps, bias, x, pad), LARGE)


def _convolve_some_in_pairs(
    taps: Sequence[Tensor], bias: Tensor | None, x: Tensor, pad: Sequence[int], part: slice
) -> Tensor:
    """As `convolve_pairs`, for these channels of the result. Of an odd number one frame is made alone.

    It is the first if that is little work: if nothing or nothing else was seen before it.
    """
    bias = None if bias is None else bias[part].to(x.dtype)
    taps = [tap[part].to(x.dtype) for tap in taps]
    made = len(x) - 2
    odd = made % 2
    begin = odd and (_count_empty(x[:2]) > 0 or shows_one_image(x[:3]))
    alone, start = (0, 1) if begin else (made - 1, 0)
    a, b, c, d = (x.permute(0, 2, 3, 1)[start + i : start + i + made - odd - 1 : 2] for i in range(4))
    before, own, after = taps
    mean = (before + after).mul_(0.5)

    def convolve(seen: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(seen.permute(0, 3, 1, 2), weight, bias, padding=pad).permute(0, 2, 3, 1)

    both = convolve(b + c, torch.add(mean, own, alpha=0.5), bias)
    apart = convolve(c - b, mean.sub_(own, alpha=0.5))
    del mean
    y = both.new_empty(made, *both.shape[1:])
    even, uneven = y[start : start + made - odd : 2], y[start + 1 : start + made - odd : 2]
    torch.add(both, apart, out=even)
    torch.sub(both, apart, out=uneven)
    del both, apart
    even += convolve(a - c, before)
    uneven += convolve(d - b, after)
    y = y.permute(0, 3, 1, 2)
    if odd:
        y[alone : alone + 1] = convolve_taps(taps, bias, x[alone : alone + 3], (1, 1, 1), pad)
    return y


def convolve_summed(
    taps: Sequence[Tensor], bias: Tensor | None, x: Tensor, stride: int | Sequence[int], pad: Sequence[int],
    changes: Iterable[Callable[[Tensor], Tensor]] = (),
) -> Tensor:  # fmt: skip
    """A convolution of images with the sum of these taps, (B, C, H, W) -> (B, C', H', W').

    taps     (C', C, k, k) each; they are summed in fp32 at least, and rounded once, or not where x is widened to fp32
    pad      zeros above and below, at the left and the right
    changes  made of the sum before it is used, number by number
    """

    def convolve(part: slice) -> Tensor:
        weight = _sum(taps, part)
        for change in changes:
            weight = change(weight)
        dtype = torch.float32 if widens(x) else x.dtype
        return conv2d(x, *as_dtype(weight, None if bias is None else bias[part], dtype), stride, pad)

    return by_channels(taps[0], convolve, MADE_AT_ONCE)


def _sum(taps: Sequence[Tensor], channels: slice) -> Tensor:
    """The sum of the taps for these channels of the result, in fp32 at least; laid out as they are."""
    parts = [tap[channels] for tap in taps]
    exact = at_least_fp32(parts[0].dtype)
    total = parts[0].to(exact) + parts[1]  # `Tensor.sum` over them takes six times as long
    for part in parts[2:]:
        total = total + part if torch.is_grad_enabled() else total.add_(part)
    return total


def count_summed_bytes(taps: Sequence[Tensor]) -> int:
    """Bytes at most of weights that `convolve_summed` makes at once."""
    exact, own = at_least_fp32(taps[0].dtype).itemsize, taps[0].dtype.itemsize
    channels = len(taps[0])
    at_once = count_channels(channels, taps[0].numel(), MADE_AT_ONCE, exact)
    numbers = taps[0].numel() // channels * at_once
    return numbers * (exact + own if exact != own else exact)
