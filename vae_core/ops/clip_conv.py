"""Convolutions over frames, rows and columns at once: by the backend, frame by frame, or tap by tap.

On a CPU a convolution over three frames is a sum of three convolutions of images, or for every two frames of four: by
Winograd's way to filter (Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", F(2, 3)), applied to
time alone. So it takes two thirds of the multiplications, and its factors of 1/2 cost no digits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .faults import computes_clips_badly
from .rows import lay_out_weight

# How weights (c_out, c_in, frames, k, k) lie in memory, the outermost dimension first: as cuDNN reads them, and so that
# the channels of all frames are those of one.
CHANNELS_LAST_3D = (0, 2, 3, 4, 1)
FRAMES_IN_CHANNELS = (0, 3, 4, 2, 1)

# In pairs of frames weights are summed at each call, and what is read and made is gone through once more. Measured on a
# CPU: that is worth it for so many channels on either side, and for so many pixels of all first frames of the pairs.
CHANNELS, PIXELS = 32, 512


def convolve_clip(conv: nn.Conv3d, x: Tensor, padding: tuple[int, int, int] = (0, 0, 0)) -> Tensor:
    """A convolution over the frames of a clip, (T, C, H, W) -> (T', C', H', W')

    padding: zeros before and after the frames, above and below, at the left and the right.
    """
    if computes_clips_badly(x):
        return _convolve_frames(conv, F.pad(x, (0,) * 6 + padding[:1] * 2) if padding[0] else x, padding[1:])
    if x.device.type == "cuda":  # cuDNN would copy weights of any other layout at every call
        lay_out_weight(conv.weight, CHANNELS_LAST_3D)
    return F.conv3d(x.transpose(0, 1)[None], conv.weight, conv.bias, conv.stride, padding)[0].transpose(0, 1)


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
    step, *in_space = stride
    y: Tensor | None = None
    end = len(x) - len(taps) + 1
    for i, tap in enumerate(taps):
        part = F.conv2d(x[i : end + i : step], tap, None if i else bias, in_space, pad)
        y = part if y is None else y.add_(part)
    assert y is not None
    return y


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
    made = len(x) - 2
    paired = made - made % 2
    frames = x.permute(0, 2, 3, 1)
    a, b, c, d = (frames[i : i + paired - 1 : 2] for i in range(4))
    first, middle, last = taps
    mean = (first + last).mul_(0.5)

    def convolve(seen: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(seen.permute(0, 3, 1, 2), weight, bias, padding=pad).permute(0, 2, 3, 1)

    both = convolve(b + c, torch.add(mean, middle, alpha=0.5), bias)
    apart = convolve(c - b, mean.sub_(middle, alpha=0.5))
    del mean
    y = both.new_empty(made, *both.shape[1:])
    even, odd = y[0:paired:2], y[1:paired:2]
    torch.add(both, apart, out=even)
    torch.sub(both, apart, out=odd)
    del both, apart
    even += convolve(a - c, first)
    odd += convolve(d - b, last)
    y = y.permute(0, 3, 1, 2)
    if paired < made:
        y[paired:] = convolve_taps(taps, bias, x[paired:], (1, 1, 1), pad)
    return y
