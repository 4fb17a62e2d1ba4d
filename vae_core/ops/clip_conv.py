"""Convolutions over frames, rows and columns at once: by the backend, or frame by frame where that is at fault."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .faults import computes_clips_badly
from .rows import lay_out_weight

# How weights (c_out, c_in, frames, k, k) lie in memory, the outermost dimension first: as cuDNN reads them, and so that
# the channels of all frames are those of one.
CHANNELS_LAST_3D = (0, 2, 3, 4, 1)
FRAMES_IN_CHANNELS = (0, 3, 4, 2, 1)


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
