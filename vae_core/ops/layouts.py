"""How the convolutions of a device read their weights. Any other layout they copy at every call, or read wrongly."""

import os

import torch
from torch import Tensor

# Of weights (c_out, c_in, frames, k, k), the outermost dimension first: tap after tap, each in channels last as frames
# are, or each as files have it.
TAPS_IN_CHANNELS_LAST, TAPS_AS_IN_FILES = (2, 0, 3, 4, 1), (2, 0, 1, 3, 4)


def unfolds(device: torch.device) -> bool:
    """Do convolutions unfold what they read? Torch's own do, where cuDNN or MIOpen is switched off.

    Some programs do so on most of AMD's cards. What MIOpen itself takes is not known before, and was seen to be as
    much: 6.7 GiB to decode 1024 px in bf16 (InvokeAI #9519), where all tensors together take 1.
    """
    return device.type == "cuda" and (bool(torch.version.hip) or not torch.backends.cudnn.enabled)


def reads_channels_last(device: torch.device) -> bool:
    """Do they read weights in channels last, and not as in files? cuDNN does; AMD's MIOpen only where it is told to.

    Torch's own, where these are switched off, do not. See miopen_conv_suggest_memory_format in torch's ConvUtils.h.
    """
    if device.type != "cuda" or not torch.backends.cudnn.enabled:
        return False
    return not torch.version.hip or os.environ.get("PYTORCH_MIOPEN_SUGGEST_NHWC") == "1"


def order_taps(device: torch.device) -> tuple[int, ...]:
    """For weights of several frames whose taps are convolutions of images.

    Apple's take any weight for one that lies as in files (pytorch #192212, of macOS 15 and torch before 2.14).
    """
    as_in_files = device.type == "mps" or (device.type == "cuda" and not reads_channels_last(device))
    return TAPS_AS_IN_FILES if as_in_files else TAPS_IN_CHANNELS_LAST


def runs_by_taps(frames: int, x: Tensor) -> bool:
    """Is a convolution over so many frames a sum of convolutions of images? In half precision sums would be rounded."""
    return frames == 1 or (x.dtype.itemsize > 2 and (x.device.type != "cuda" or unfolds(x.device)))


def suit_transposed(x: Tensor) -> Tensor:
    """What a transposed convolution is to read. Apple's take 30 times as long for channels last (pytorch #193349)."""
    return x.contiguous() if x.device.type == "mps" else x
