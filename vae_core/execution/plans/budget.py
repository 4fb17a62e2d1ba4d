"""How much memory there is: what a person allows, or what is free at this moment."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil
import torch

from ...errors import BadRequest

UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
MOST = 2**60  # bytes: what processors of today can address is less
MARGIN = 0.1  # of what is free, left to others and to what no plan foresees

# Linux containers are told by these files, of version 2 and 1, what they may use and what they do use.
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


def parse(size: int | str) -> int:
    """2147483648, '2GiB', '500 MB', '1.5g' -> bytes. Raises BadRequest."""
    said = "a number without end" if isinstance(size, int) and size > MOST else str(size)
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?i?)b?\s*", said.lower())
    if not found or found[2] not in UNITS or not float(found[1]):
        raise BadRequest(f"'{said}' is no amount of memory: give bytes, or a number with a unit, as 2GiB or 500MB.")
    given = float(found[1]) * UNITS[found[2]]
    if given > MOST:
        raise BadRequest(f"'{said}' is more memory than any machine has: give bytes, or a number with a unit, as 2GiB.")
    return int(given)


def free(device: torch.device) -> int:
    """Bytes that may be used on this device now: what is free, less a margin."""
    read = READERS.get(device.type, _read_system)  # any other device shares the system's memory, or tells nothing
    return int(read(device) * (1 - MARGIN))


def shares_memory(device: torch.device) -> bool:
    """Is the device's memory the system's own? A CPU's is, and that of NVIDIA's chips with both, as DGX Spark, Jetson.

    AMD's that say so may have a part of it set aside, which is counted as of any card.
    """
    if device.type != "cuda" or torch.version.hip:
        return device.type == "cpu"
    try:
        known = torch.cuda.get_device_properties(device)
    except (RuntimeError, AssertionError):  # a device that is not there can be planned for
        return False
    return bool(getattr(known, "is_integrated", False))


def _read_cuda(device: torch.device) -> int:
    """What the driver has, and what torch holds unused.

    Of memory that is also the system's the system tells more: the driver leaves out what gives way, as cached files.
    """
    shared = shares_memory(device)
    return (_read_system(device) if shared else torch.cuda.mem_get_info(device)[0]) + _count_unused(device)


def _count_unused(device: torch.device) -> int:
    """What torch holds unused on CUDA; but not what lies in pieces between tensors that are in use.

    Whole unused segments torch gives back before it says that memory ran out; pieces it cannot put together. Allocators
    that a program plugs in tell nothing, then nothing is counted.
    """
    try:
        told = torch.cuda.memory_stats(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    except RuntimeError:
        return 0
    return unused - told.get("inactive_split_bytes.all.current", 0)


def _read_xpu(device: torch.device) -> int:
    held, used = torch.xpu.memory_reserved(device), torch.xpu.memory_allocated(device)
    try:
        free_now = torch.xpu.mem_get_info(device)[0]
    except (RuntimeError, AttributeError):  # drivers and versions of torch that cannot be asked
        free_now = torch.xpu.get_device_properties(device).total_memory - held
    return free_now + held - used


def _read_mps(device: torch.device) -> int:
    """Apple's GPUs share the system's memory, up to what Metal recommends for one process."""
    held, used = torch.mps.driver_allocated_memory(), torch.mps.current_allocated_memory()
    return min(torch.mps.recommended_max_memory() - used, _read_system(device) + held - used)


def _read_system(device: torch.device) -> int:
    return min([psutil.virtual_memory().available, *_left_in_cgroups()])


READERS: Mapping[str, Callable[[torch.device], int]] = {"cuda": _read_cuda, "xpu": _read_xpu, "mps": _read_mps}


def _left_in_cgroups() -> Iterable[int]:
    for limit, usage, statistics in CGROUPS:
        try:
            most, used = (int(Path(path).read_text()) for path in (limit, usage))
            found = re.search(r"^(?:total_)?inactive_file (\d+)$", Path(statistics).read_text(), re.MULTILINE)
        except (OSError, ValueError):  # no such file, or "max"
            continue
        yield max(0, most - used + (int(found[1]) if found else 0))  # cached files give way


def format_bytes(size: float) -> str:
    """1.5 GiB, 320 MiB, 0.6 MiB"""
    if size >= 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.{0 if size >= 10 * 2**20 else 1}f} MiB"
