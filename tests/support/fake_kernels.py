"""What kernels of CUDA give, and take beside it: layouts of convolutions, columns where they unfold what they read."""

import math
from typing import Any

import torch
from torch import Tensor


def compute(func: Any, name: str, first: Tensor, args: Any, kwargs: Any) -> Any:
    """What an op gives on the device, laid out as there. first: of its tensors."""
    if name == "batch_norm_update_stats":  # torch has no shapes for it without a device
        exact = torch.promote_types(first.dtype, torch.float32)
        return tuple(first.new_empty(first.shape[1], dtype=exact) for _ in range(2))
    if name == "convolution" and not torch.backends.cudnn.enabled:
        return func(*args, **kwargs).contiguous()
    if name == "convolution":
        x, weight = args[:2]
        copies = [_lay_out_as_cudnn(one, x, weight) for one in (x, weight)]  # which are gone when it is done
        return _lay_out_as_cudnn(func(*args, **kwargs), *copies)
    return func(*args, **kwargs)


def unfold(name: str, args: Any) -> list[Tensor]:
    """What torch's own convolution makes meanwhile: copies of what lies otherwise than in files, columns of one image.

    After slow_conv2d_forward of torch's aten/src/ATen/native/cuda/ConvolutionMM2d.cu.
    """
    if name != "convolution" or torch.backends.cudnn.enabled:
        return []
    x, weight, transposed = *args[:2], args[6]
    copies = [one.contiguous() for one in (x, weight) if not one.is_contiguous()]
    if weight[0, 0].numel() == 1:
        return copies
    taps = weight[0].numel()
    sizes = zip(x.shape[2:], weight.shape[2:], *args[3:6], strict=True)
    made = x.shape[2:] if transposed else [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes]
    return [*copies, x.new_empty(taps * math.prod(made))]


def _lay_out_as_cudnn(made: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """What cuDNN's convolutions make is channels_last if x or the weight is, and x is not in float64.

    After cudnn_conv_suggest_memory_format in torch's aten/src/ATen/native/ConvUtils.h.
    """
    last = torch.channels_last if weight.ndim == 4 else torch.channels_last_3d
    if x.dtype is torch.float64 or not (_suggests_last(x) or _suggests_last(weight)):
        return made.contiguous()
    return made if made.is_contiguous(memory_format=last) else made.clone(memory_format=last)


def _suggests_last(t: Tensor) -> bool:
    """By its strides, those of dimensions of size 1 too: is_channels_last_strides_2d of c10/core/MemoryFormat.h."""
    least = 0
    for d in (1, *range(t.ndim - 1, 1, -1), 0):
        if t.shape[d] == 0 or t.stride(d) < least or (d == 0 and least == t.stride(1)):
            return False
        least = t.stride(d) * max(1, t.shape[d])
    return t.stride(1) != 0


def name_layout(x: Tensor) -> str:
    """'last', 'first', 'both' (of one channel or of one pixel), 'other'; '' for what has no rows and columns."""
    if x.ndim < 4:
        return ""
    last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    names = {(True, False): "last", (False, True): "first", (True, True): "both"}
    return names.get((x.is_contiguous(memory_format=last), x.is_contiguous()), "other")
