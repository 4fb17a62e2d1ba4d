"""What the machine is: versions, flags, and the ceilings that no program on it can exceed."""

import os
import platform
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from operator import attrgetter
from typing import Any

import torch

from gpu.clock import median_ms, synchronize, time_return
from gpu.flags import set_tf32
from gpu.rows import Row
from gpu.surroundings import ROOT, import_diffusers
from gpu.tasks import Setting, Task, describe

SMI = "name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu"
PRODUCT = 8192  # side of the matrices
COPIED = 2**32  # bytes
LAUNCHES = 1000
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def list_tasks(setting: Setting) -> Iterator[Task]:
    for name, work in {"versions": list_versions, "flags": list_flags, "device": partial(list_device, setting)}.items():
        yield Task({"fact": name}, work)
    yield Task({"fact": "products"}, partial(measure_products, setting))
    yield Task({"fact": "copies"}, partial(measure_copies, setting))
    yield Task({"fact": "launches"}, partial(measure_launches, setting))


def _as_rows(facts: dict[str, Any]) -> list[Row]:
    return [{"name": name, "value": value} for name, value in facts.items()]


def list_versions() -> list[Row]:
    return _as_rows(
        {
            "torch": torch.__version__,
            "CUDA": torch.version.cuda,
            "HIP": torch.version.hip,
            "cuDNN": torch.backends.cudnn.version() if torch.version.cuda else None,
            "triton": find_version("triton"),
            "diffusers": find_version("diffusers"),
            "Python": platform.python_version(),
            "system": platform.platform(),
            "Exact VAE": read_commit(),
            "PYTORCH_CUDA_ALLOC_CONF": os.environ.get("PYTORCH_CUDA_ALLOC_CONF"),
        }
    )


def find_version(package: str) -> str:
    """Its version, or why it cannot be imported."""
    try:
        module = import_diffusers() if package == "diffusers" else __import__(package)
        return module.__version__
    except Exception as e:
        return describe(e)


def read_commit() -> str:
    """'1a2b3c4', or its version where there is no repository."""
    from exact_vae.vae_core import __version__

    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip() or __version__
    except (OSError, subprocess.SubprocessError):
        return __version__


FLAGS = {
    "cudnn.allow_tf32": "backends.cudnn.allow_tf32",
    "cudnn.benchmark": "backends.cudnn.benchmark",
    "cudnn.deterministic": "backends.cudnn.deterministic",
    "cudnn.conv.fp32_precision": "backends.cudnn.conv.fp32_precision",
    "matmul.allow_tf32": "backends.cuda.matmul.allow_tf32",
    "matmul.fp32_precision": "backends.cuda.matmul.fp32_precision",
    "matmul, sums of bf16 in parts": "backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
    "matmul, sums of fp16 in parts": "backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
    "float32_matmul_precision": "get_float32_matmul_precision",
    "flash attention": "backends.cuda.flash_sdp_enabled",
    "memory-efficient attention": "backends.cuda.mem_efficient_sdp_enabled",
    "cuDNN attention": "backends.cuda.cudnn_sdp_enabled",
    "math attention": "backends.cuda.math_sdp_enabled",
}


def list_flags() -> list[Row]:
    """As they are when nobody sets them: what users run with."""
    return _as_rows({name: ask_torch(path) for name, path in FLAGS.items()})


def ask_torch(path: str) -> Any:
    """A flag of torch, or what a function of it says; why not, if this torch has none or refuses."""
    try:
        found = attrgetter(path)(torch)
        return found() if callable(found) else found
    except (AttributeError, RuntimeError) as e:
        return describe(e)


def list_device(setting: Setting) -> list[Row]:
    from exact_vae.vae_core import load

    facts: dict[str, Any] = {"built-in VAE by default": load(device=setting.device)}
    if not setting.on_cuda:
        return _as_rows({"threads": torch.get_num_threads(), "processor": platform.processor(), **facts})
    known = torch.cuda.get_device_properties(setting.device)
    free, total = torch.cuda.mem_get_info()
    facts |= {
        "device": known.name,
        "capability": f"{known.major}.{known.minor}",
        "multiprocessors": known.multi_processor_count,
        "memory, GiB": total / 2**30,
        "free, GiB": free / 2**30,
        "bf16 without emulation": torch.cuda.is_bf16_supported(including_emulation=False),
        "nvidia-smi": ask_driver(),
    }
    return _as_rows(facts)


def ask_driver() -> str:
    """What NVIDIA's tool says of the card, if it is there. It only reads."""
    try:
        command = ["nvidia-smi", f"--query-gpu={SMI}", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError) as e:
        return describe(e)


def measure_products(setting: Setting) -> list[Row]:
    """TFLOP/s of a large product of matrices of random numbers, in each dtype, and in fp32 with TF32 allowed."""
    side = 256 if setting.tiny else PRODUCT
    rates = {name: _measure_product(side, dtype, setting.device) for name, dtype in DTYPES.items()}
    if setting.on_cuda:
        with set_tf32(True):
            rates["TF32"] = _measure_product(side, torch.float32, setting.device)
    return _as_rows({f"product, {name}, TFLOP/s": rate for name, rate in rates.items()})


def _measure_product(side: int, dtype: torch.dtype, device: str) -> float:
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / median_ms(partial(torch.mm, a, b), device, runs=10) / 1e9


def measure_copies(setting: Setting) -> list[Row]:
    """GB/s of copies on the device, counting what is read and written, and between it and the host."""
    size = 2**20 if setting.tiny else COPIED
    x = torch.empty(size, dtype=torch.uint8, device=setting.device).random_()
    y = torch.empty_like(x)
    ms = median_ms(partial(y.copy_, x), setting.device)
    rows: list[Row] = [{"name": "copy on the device, GB/s", "value": 2 * size / ms / 1e6}]
    rows += [_measure_pinning(size // 4)] if setting.on_cuda else []
    for pinned in (True, False) if setting.on_cuda else ():
        host = torch.empty(size // 4, dtype=torch.uint8, pin_memory=pinned)
        part, kind = x[: size // 4], "pinned" if pinned else "pageable"
        for way, to, come in (("device to host", host, part), ("host to device", part, host)):
            ms = median_ms(partial(to.copy_, come, non_blocking=pinned), setting.device, warm=1, runs=3)
            rows.append({"name": f"{way}, {kind}, GB/s", "value": len(host) / ms / 1e6})
    return rows


def _measure_pinning(size: int) -> Row:
    """A run that keeps bands in system memory pins it anew: torch has none left over."""
    begun = time.perf_counter()
    torch.empty(size, dtype=torch.uint8, pin_memory=True)
    return {"name": "pinning memory of the host, GB/s", "value": size / (time.perf_counter() - begun) / 1e9}


def measure_launches(setting: Setting) -> list[Row]:
    """Microseconds of Python and torch for one small op, and until the device has done it."""
    x = torch.zeros(1, device=setting.device)

    def launch() -> None:
        for _ in range(LAUNCHES):
            x.add_(1)

    launch()
    synchronize(setting.device)
    facts = {
        "a small op returns after, us": time_return(launch, setting.device),
        "a small op is done after, us": median_ms(launch, setting.device, warm=1, runs=5),
    }
    return _as_rows({name: 1000 * ms / LAUNCHES for name, ms in facts.items()})
