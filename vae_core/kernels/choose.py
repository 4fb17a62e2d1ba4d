"""Kernel or twin, tensor by tensor.

A kernel runs on CUDA only, in half precision and fp32, on channels last, if Triton is there, it runs on the device at
all, and nobody has turned it off. Before the first run for so many channels, in a dtype, on a device, it is checked
there against its twin.
"""

import logging
import os
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..devices.cards import AMD_WITH_BF16, read_card
from ..errors import is_out_of_memory
from . import torch_twins

VARIABLE = "EXACT_VAE_KERNELS"  # in the environment: 'off' for none
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
# Of the check. (T, rows, columns) of its tile: several chunks, no multiple of any block.
TILE = (2, 37, 29)
OFF = 30.0  # how far the mean of its numbers is from zero, in standard deviations
# Errors that are allowed, in roundings of the dtype that is stored or of fp32. The kernel rounds to the stored dtype
# once, so half of one is its due. On its way there a handful of operations round to fp32, of numbers up to LARGEST,
# four deviations times a weight of three; GPUs compute divisions, exponentials and roots to about two roundings.
STORED, INSIDE, LARGEST = 2.0, 16.0, 12.0

MOST_CHANNELS = 4096  # of a pixel that a program has in its registers
TRIED = 32  # channels with which a device is tried, in fp32

log = logging.getLogger("exact_vae")


def find_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """As `torch_twins.find_moments`, by the kernel where it can be used."""
    return find_home("find_moments", x).find_moments(x)


def normalize(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, silu: bool
) -> Tensor:
    """As `torch_twins.normalize`, by the kernel where it can be used."""
    return find_home("normalize", x).normalize(x, mean, var, weight, bias, eps, silu)


def add_bias(y: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
    """As `torch_twins.add_bias`, by the kernel where it can be used."""
    home = find_home("add_bias", y) if skip.shape == y.shape and skip.dtype is y.dtype and suits(skip) else torch_twins
    return home.add_bias(y, bias, skip)


def normalize_pixels(x: Tensor, gamma: Tensor, least: float, silu: bool, y: Tensor) -> Tensor:
    """As `torch_twins.normalize_pixels`, by the kernel where it can be used."""
    fits = x.shape == y.shape and x.dtype is y.dtype and x.shape[1] <= MOST_CHANNELS and suits(y)
    home = find_home("normalize_pixels", x) if fits else torch_twins
    return home.normalize_pixels(x, gamma, least, silu, y)


def find_home(name: str, x: Tensor) -> Any:
    """The module whose function of this name is to be used for x (T, C, H, W): the kernels', or that of their twins."""
    if os.environ.get(VARIABLE) != "off" and suits(x) and is_right(name, x.shape[1], x.dtype, x.device):
        return read_kernels()
    return torch_twins


def suits(x: Tensor) -> bool:
    """Could a kernel read x (T, C, H, W)? None reads a tensor that only says what it would be."""
    return x.device.type == "cuda" and x.dtype in DTYPES and type(x) is Tensor and lies_in_pixels(x)


def lies_in_pixels(x: Tensor) -> bool:
    """Do the channels of each pixel of x (T, C, H, W) lie side by side, and the pixels of each frame one by one?"""
    frames, channels, rows, columns = x.shape
    found, wanted = x.stride()[1:], (1, columns * channels, channels)
    sizes = (channels, rows, columns)
    steps = x.stride(0) % channels == 0 or frames == 1
    return steps and x.numel() > 0 and all(a == b for a, b, n in zip(found, wanted, sizes, strict=True) if n > 1)


@cache
def read_kernels() -> Any:
    """The module of the kernels; None without Triton."""
    try:
        return import_module(".triton_sources", __package__)
    except ImportError:
        return None
    except Exception as e:  # one of many builds of Triton, for other versions of torch and of drivers
        log.warning("Triton cannot be used (%s); torch's own operations run in place of the kernels.", _shorten(e))
        return None


@cache
def can_run(device: torch.device) -> bool:
    """Do kernels run on this device at all? If not, the log says so, once for all of them.

    Triton needs a compiler for C when it first starts one, and a card that it knows. Of AMD's it knows those with bf16:
    for others it writes pages to the terminal before it gives up.
    """
    if torch.version.hip and not re.search(AMD_WITH_BF16, read_card(device).name):
        return False
    try:
        check_add_bias(read_kernels(), TRIED, torch.float32, device)
    except Exception as e:
        if is_out_of_memory(e):
            raise
        log.warning(
            "Triton cannot be used on %s (%s); torch's own operations run in place of the kernels.", device, _shorten(e)
        )
        return False
    return True


@cache
def is_right(name: str, channels: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Does this kernel compute on this device what its twin does? If not, the log says so, once."""
    kernels = read_kernels()
    if kernels is None or not can_run(device):
        return False
    try:
        error = CHECKS[name](kernels, channels, dtype, device)
    except Exception as e:  # a compiler's, a driver's
        if is_out_of_memory(e):
            raise
        found = f"fails ({_shorten(e)})"
    else:
        if error <= 1:
            return True
        found = f"is wrong by {error:.3g} times what rounding allows"
    log.warning(
        "The kernel '%s' for %d channels in %s %s on %s; torch's own operations run in its place.",
        name, channels, str(dtype).removeprefix("torch."), found, device,
    )  # fmt: skip
    return False


def check_moments(kernels: Any, channels: int, dtype: torch.dtype, device: torch.device) -> float:
    """The largest error of the kernel's moments, by what is allowed; of NaN, infinity."""
    x = _make_tile(channels, dtype, device)
    n = x.shape[-1] * x.shape[-2]
    mean, squares = (found.double() for found in kernels.find_moments(x))
    true_mean, true_squares = torch_twins.find_moments(x.double())
    deviation = (true_squares / n).sqrt()
    allowed = INSIDE * torch.finfo(torch.float32).eps
    off = (mean - true_mean).abs() / (allowed * (true_mean.abs() + deviation))
    apart = (squares - true_squares).abs() / (allowed * true_squares)
    return _find_largest(off, apart)


def check_normalize(kernels: Any, channels: int, dtype: torch.dtype, device: torch.device) -> float:
    """The largest error of what the kernel makes, by what is allowed; of NaN, infinity."""
    x = _make_tile(channels, dtype, device)
    mean, squares = torch_twins.find_moments(x)
    var = squares / (x.shape[-1] * x.shape[-2])
    weight, bias = _draw(2, channels, device=device).to(dtype)
    errors = []
    for silu in (False, True):
        for m, v in ((mean, var), (mean[:1], var[:1])):
            y = kernels.normalize(x, m, v, weight, bias, 1e-5, silu).double()
            exact = torch_twins.normalize(x.double(), m.double(), v.double(), weight, bias, 1e-5, silu)
            inside = INSIDE * torch.finfo(torch.float32).eps * (LARGEST + exact.abs())
            errors.append((y - exact).abs() / (STORED * torch.finfo(dtype).eps * exact.abs() + inside))
    return _find_largest(*errors)


def check_add_bias(kernels: Any, channels: int, dtype: torch.dtype, device: torch.device) -> float:
    """The largest error of the sum, by what is allowed; of NaN, infinity."""
    y, bias = _make_tile(channels, dtype, device), _draw(1, channels, device=device)[0].to(dtype)
    skip = y.flip(2) - OFF
    exact = torch_twins.add_bias(y.double(), bias, skip.double())
    found = kernels.add_bias(y.clone(), bias, skip.contiguous(memory_format=torch.channels_last)).double()
    inside = INSIDE * torch.finfo(torch.float32).eps * (OFF + LARGEST)
    return _find_largest((found - exact).abs() / (STORED * torch.finfo(dtype).eps * exact.abs() + inside))


def check_normalize_pixels(kernels: Any, channels: int, dtype: torch.dtype, device: torch.device) -> float:
    """The largest error of what the kernel makes of pixels, by what is allowed; of NaN, infinity."""
    x = _make_tile(channels, dtype, device)
    gamma = 1 + _draw(channels, device=device).clamp(-2, 2)
    found = kernels.normalize_pixels(x, gamma.to(dtype), 1e-12, True, torch.empty_like(x)).double()
    exact = torch_twins.normalize_pixels(
        x.double(), gamma.to(dtype).double(), 1e-12, True, torch.empty_like(x).double()
    )
    inside = INSIDE * torch.finfo(torch.float32).eps * LARGEST
    return _find_largest((found - exact).abs() / (STORED * torch.finfo(dtype).eps * exact.abs() + inside))


CHECKS: dict[str, Callable[[Any, int, torch.dtype, torch.device], float]] = {
    "add_bias": check_add_bias,
    "find_moments": check_moments,
    "normalize": check_normalize,
    "normalize_pixels": check_normalize_pixels,
}


def _make_tile(channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Always the same numbers, (T, channels, rows, columns) in channels last, of mean OFF and deviation 1."""
    frames, rows, columns = TILE
    return (_draw(frames, rows, columns, channels, device=device) + OFF).to(dtype).permute(0, 3, 1, 2)


def _draw(*shape: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(device)


def _find_largest(*errors: Tensor) -> float:
    return max(float(e.nan_to_num(torch.inf).max()) for e in errors)


def _shorten(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return text[:200]
