"""What the processor of this machine computes quickly in half precision. It is asked once."""

import platform
from functools import lru_cache
from pathlib import Path

import torch

LISTED = Path("/proc/cpuinfo")  # where Linux says which processors there are
AMD = "AuthenticAMD"


@lru_cache
def has_bf16() -> bool:
    """Has it instructions for bf16, avx512_bf16 or AMX? Without them it emulates it."""
    return _supports("_is_avx512_bf16_supported")


@lru_cache
def is_faster_in_fp32(dtype: torch.dtype) -> bool:
    """Are convolutions and products of this half precision computed faster in fp32, to which they are widened?

    Not in bf16 by AMX, nor by AMD's avx512_bf16, which multiplies twice as many numbers as in fp32. Intel's
    multiplies no more of them: measured on a Xeon without AMX, a convolution took 1.4 to 1.9 times as long as in fp32,
    widening counted.
    """
    if dtype is not torch.bfloat16:
        return dtype.itemsize == 2
    return not (_supports("_is_amx_tile_supported") or (has_bf16() and _is_by_amd()))


def _supports(question: str) -> bool:
    """torch has no public questions, and may rename these."""
    ask = getattr(torch.cpu, question, None)
    return bool(ask and ask())


def _is_by_amd() -> bool:
    if AMD in platform.processor():  # on Windows
        return True
    try:
        return AMD in LISTED.read_text(errors="replace")
    except OSError:
        return False
