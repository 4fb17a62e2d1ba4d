"""What do ops do beyond 2^31 numbers, where kernels that count with 32 bits end? Each in a process of its own.

A plan keeps such tensors from a GPU. The rows tell whether it has to: for each op whether the end of its result is
right, and what it takes beside half of it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from memory import MIB
from torch import Tensor

from gpu.clock import choose_half, measure_memory, median_ms
from gpu.rows import Row, add_row
from gpu.tasks import Setting, Task, describe, isolate

LIMIT = 2**31
BEYOND = 1.02  # times the limit, of numbers in the larger of what is read and what is made
CHANNELS = 64
END = 8  # rows of the result that are compared
LONGEST = 40.0  # seconds of one probe
REPEATS: Mapping[str, Any] = {"warm": 1, "runs": 3, "longest": 4.0}
NAME = "limits"


class Probe(NamedTuple):
    """An op on the device, and the same for the last rows alone.

    frames  of x, (1, C, T, H, W); 0: x is (1, C, H, W)
    grows   how many times as many numbers the result has
    halo    rows above that the last ones look at
    last    channels_last?
    """

    op: Callable[[Tensor], Tensor]
    frames: int = 0
    grows: int = 1
    halo: int = 0
    last: bool = False


def _convolve(x: Tensor) -> Tensor:
    return (F.conv2d if x.ndim == 4 else F.conv3d)(x, _kernel(x), padding=1)


def _kernel(x: Tensor) -> Tensor:
    """The same each time, of numbers that keep the size of what is read, laid out as x is."""
    shape = (CHANNELS, CHANNELS, *(3,) * (x.ndim - 2))
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) / math.prod(shape[1:]) ** 0.5
    last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    return weight.to(x.device, x.dtype).contiguous(memory_format=last if x.stride(1) == 1 else torch.contiguous_format)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _pad(x: Tensor) -> Tensor:
    return F.pad(x, (1, 1, 1, 1))[..., :-1, 1:-1]


def _normalize_groups(x: Tensor) -> Tensor:
    return F.group_norm(x, CHANNELS // 2)


def _normalize_batch(x: Tensor) -> Tensor:
    zeros, ones = torch.zeros(CHANNELS, device=x.device), torch.ones(CHANNELS, device=x.device)
    mean, var = torch.batch_norm_update_stats(x, zeros, ones, 0.0)
    return F.batch_norm(x, mean, var)


PROBES: Mapping[str, Probe] = {
    "conv2d, NCHW": Probe(_convolve, halo=1),
    "conv2d, NHWC": Probe(_convolve, halo=1, last=True),
    "conv3d, NCDHW": Probe(_convolve, frames=8, halo=1),
    "conv3d, NDHWC": Probe(_convolve, frames=8, halo=1, last=True),
    "group_norm, NCHW": Probe(_normalize_groups),
    "group_norm, NHWC": Probe(_normalize_groups, last=True),
    "batch_norm, NHWC": Probe(_normalize_batch, last=True),
    "upsample, NCHW": Probe(_double, grows=4),
    "upsample, NHWC": Probe(_double, grows=4, last=True),
    "silu, NHWC": Probe(F.silu, last=True),
    "pad, NHWC": Probe(_pad, halo=1, last=True),
}
NORMS = (_normalize_groups, _normalize_batch)


def list_tasks(setting: Setting) -> Iterator[Task]:
    """Nothing here may start CUDA in this process."""
    for name in PROBES:
        yield Task({"op": name}, partial(_probe_apart, name, setting), 10)


def _probe_apart(name: str, setting: Setting) -> list[Row]:
    """Its row is written by the process that makes it, so that a fault cannot take it along."""
    failed = isolate(setting.method, _probe_and_keep, name, setting.device, setting.tiny, setting.out, seconds=LONGEST)
    return [{"error": failed}] if failed else []


def _probe_and_keep(name: str, device: str, tiny: bool, out: Path) -> None:
    try:
        row = probe(PROBES[name], device, 2**18 if tiny else LIMIT)
    except Exception as e:
        row = {"error": describe(e)}
    add_row(out, NAME, {"op": name, **row})


@torch.no_grad()
def probe(one: Probe, device: str, limit: int) -> Row:
    """Is the end of the result right, and what does it take? limit: of the numbers, which is exceeded a little."""
    half = median_ms(partial(one.op, _make_input(one, device, limit // 2)), device, **REPEATS)
    x = _make_input(one, device, limit)
    ms = median_ms(partial(one.op, x), device, **REPEATS)
    made = one.op(x)
    apart = (made[..., -END:, :].float() - _compute_end(one, x).float()).abs().max().item()
    row: Row = {"numbers / 2^31": made.numel() / LIMIT, "largest error of the last rows": apart}
    size = made.nbytes
    del made
    row |= measure_memory(partial(one.op, x), device)
    return {**row, "MiB of the result": size / MIB, "ms": ms, "ms / (2 x ms of half)": ms / (2 * half)}


def _compute_end(one: Probe, x: Tensor) -> Tensor:
    """The last rows of the result, from the last rows alone; of a norm, by the mean and variance of normal numbers."""
    if one.op in NORMS:
        return x[..., -END:, :]
    end = x[..., -(END + one.halo) :, :]
    return one.op(end.contiguous(memory_format=_layout_of(one)))[..., -END:, :]


def _make_input(one: Probe, device: str, limit: int) -> Tensor:
    """Normal numbers, with a little more than the limit in what is read or made."""
    frames = one.frames or 1
    side = math.ceil((BEYOND * limit / one.grows / frames / CHANNELS) ** 0.5)
    shape = (1, CHANNELS, *((one.frames,) if one.frames else ()), side, side)
    x = torch.empty(shape, dtype=choose_half(device), device=device, memory_format=_layout_of(one))
    for rows in x.split(64, -2):  # by parts, for the generator is an op as others are
        rows.normal_()
    return x


def _layout_of(one: Probe) -> torch.memory_format:
    if not one.last:
        return torch.contiguous_format
    return torch.channels_last_3d if one.frames else torch.channels_last
