"""What a device computes with: its name, its driver, torch and this pack. With others, numbers may be others."""

import ctypes
import platform
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from ..version import __version__

# NVML, which comes with NVIDIA's driver: https://docs.nvidia.com/deploy/nvml-api/group__nvmlSystemQueries.html
NVML = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
NVML_TEXT = 80  # bytes, NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
AMD_DRIVER = Path("/sys/module/amdgpu/version")  # of AMD's own driver; that of the Linux kernel has none
CPU_INFO = Path("/proc/cpuinfo")


class Machine(NamedTuple):
    """device: 'NVIDIA H100 80GB HBM3'; driver: '550.54.15'; '' if there is none to ask for."""

    device: str
    driver: str
    torch: str
    pack: str


def describe_machine(device: torch.device) -> Machine:
    return Machine(name_device(device), find_driver(device), torch.__version__, __version__)


def name_device(device: torch.device) -> str:
    """'NVIDIA H100 80GB HBM3', 'Apple M3 Max', the processor of a CPU; the type of a device that cannot be asked."""
    with suppress(RuntimeError, AssertionError, AttributeError):
        if device.type in ("cuda", "xpu"):
            return torch.get_device_module(device).get_device_name(device)
    return name_processor() if device.type in ("cpu", "mps") else device.type


def find_driver(device: torch.device) -> str:
    """The driver's version. Of a CPU the instructions that torch uses there, which choose its kernels."""
    if device.type == "cpu":
        return torch.backends.cpu.get_cpu_capability()
    if device.type == "mps":
        return f"macOS {platform.mac_ver()[0]}"
    if device.type == "cuda":
        return f"ROCm {torch.version.hip} {read_amd_driver()}".rstrip() if torch.version.hip else read_nvidia_driver()
    with suppress(RuntimeError, AssertionError, AttributeError):
        return str(torch.get_device_module(device).get_device_properties(device).driver_version)
    return ""


@lru_cache(maxsize=1)
def read_nvidia_driver() -> str:
    """'550.54.15'; '' without a driver."""
    with suppress(OSError, AttributeError):
        nvml, text = ctypes.CDLL(NVML), ctypes.create_string_buffer(NVML_TEXT)
        if nvml.nvmlInit_v2() == 0:
            failed = nvml.nvmlSystemGetDriverVersion(text, NVML_TEXT)
            nvml.nvmlShutdown()
            return "" if failed else text.value.decode()
    return ""


def read_amd_driver() -> str:
    with suppress(OSError):
        return AMD_DRIVER.read_text().strip()
    return ""


@lru_cache(maxsize=1)
def name_processor() -> str:
    """'AMD Ryzen 9 7950X 16-Core Processor', 'Apple M3 Max'; the kind of processor where nothing tells its name."""
    with suppress(OSError, StopIteration, AttributeError, RuntimeError):  # old torch lacks get_name
        if sys.platform == "darwin" and torch.backends.mps.is_available():
            return torch.backends.mps.get_name()
        lines = CPU_INFO.read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()
