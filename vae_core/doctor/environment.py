"""What a bug report needs: versions, devices, the dtypes that are chosen there, flags, variables. No path of a home."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from typing import Any

import psutil
import torch

from ..devices.dtypes import explain_dtype, name_dtype
from ..execution.plans.budget import format_bytes, free
from ..verdicts import find_driver, hide_home, name_device, name_processor, read_all
from ..version import __version__

PACKAGES = ("safetensors", "numpy", "psutil", "Pillow", "diffusers", "triton", "triton-windows")
STORED = (torch.float32, torch.float16, torch.bfloat16)  # dtypes of files
# Of torch and its backends, that change which kernels run, in how many digits, or in how much memory.
VARIABLES = (
    "EXACT_VAE_SCRATCH", "EXACT_VAE_CACHE", "EXACT_VAE_MODELS", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
    "HSA_OVERRIDE_GFX_VERSION", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING", "PYTORCH_ENABLE_MPS_FALLBACK", "PYTORCH_MPS_HIGH_WATERMARK_RATIO",
    "PYTORCH_MPS_FAST_MATH", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING", "TORCH_CUDNN_V8_API_DISABLED", "MIOPEN_FIND_MODE", "MIOPEN_FIND_ENFORCE",
    "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
    "TRITON_INTERPRET",
)  # fmt: skip

Section = Mapping[str, str]


def read_environment(hosts: Mapping[str, str]) -> dict[str, Section]:
    """All of it by section, of texts, for `json`. hosts: versions of what runs this pack, by name."""
    return {
        "versions": {**_read_versions(), **hosts},
        "system": _read_system(),
        **{str(device): _read_device(device) for device in list_devices()},
        "flags": _read_flags(),
        "variables": {name: hide_home(os.environ[name]) for name in VARIABLES if name in os.environ},
        "verdicts": {f"{one.name} on {one.machine.device}": one.sentence for one in read_all()},
    }


def format_environment(facts: Mapping[str, Section]) -> str:
    """A section for each device and the rest, as lines 'name: value'."""
    return "\n\n".join("\n".join((name, *_format_rows(rows))) for name, rows in facts.items() if rows)


def list_devices() -> list[torch.device]:
    """The CPU, and all that torch finds."""
    found = [torch.device("cpu")]
    for kind in ("cuda", "xpu", "mps"):
        with suppress(RuntimeError, AssertionError, AttributeError):
            devices = torch.get_device_module(kind)
            found += [torch.device(kind, i) for i in range(devices.device_count())]
    return found


def _format_rows(rows: Section) -> Iterator[str]:
    width = max(map(len, rows))
    return (f"  {name.ljust(width)}  {value}" for name, value in rows.items())


def _read_versions() -> dict[str, str]:
    found = {
        "exact-vae": __version__,
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "ROCm": torch.version.hip,
        "cuDNN": _read_cudnn(),
    }
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return {name: str(version) for name, version in found.items() if version}


def _read_cudnn() -> int | None:
    return torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None


def _read_system() -> dict[str, str]:
    return {
        "OS": platform.platform(),
        "processor": name_processor(),
        "cores": f"{os.cpu_count()}, torch uses {torch.get_num_threads()}",
    }


def _read_device(device: torch.device) -> dict[str, str]:
    """Name, driver, memory, and what VAEs run in there."""
    total = psutil.virtual_memory().total
    capability = ""
    if device.type == "cuda":
        total = torch.cuda.mem_get_info(device)[1]
        capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
    facts = {
        "name": name_device(device),
        "driver": find_driver(device),
        "capability": capability,
        "memory": f"{format_bytes(total)}, of which {format_bytes(free(device))} may be used now",
    }
    chosen = {f"a file in {name_dtype(own)} runs in": _choose(device, own) for own in STORED}
    return {name: text for name, text in {**facts, **chosen}.items() if text}


def _choose(device: torch.device, own: torch.dtype) -> str:
    """'bf16 (its tensor cores compute bf16)'"""
    chosen = explain_dtype(device, own, fits_fp16=True)
    return f"{name_dtype(chosen.dtype)} ({chosen.why})"


def _read_flags() -> dict[str, str]:
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    questions: dict[str, Callable[[], Any]] = {
        "TF32 in cuDNN": lambda: cudnn.allow_tf32,
        "TF32 in matmul": lambda: cuda.matmul.allow_tf32,
        "float32 matmul precision": torch.get_float32_matmul_precision,
        "cuDNN": lambda: f"enabled {cudnn.enabled}, benchmark {cudnn.benchmark}, deterministic {cudnn.deterministic}",
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
        "MKL-DNN": lambda: torch.backends.mkldnn.enabled,
        "default dtype": lambda: name_dtype(torch.get_default_dtype()),
        "default device": torch.get_default_device,
        "attention": _list_attention,
    }
    return {name: _ask(question) for name, question in questions.items()}


def _list_attention() -> str:
    """The kernels that torch may choose from."""
    cuda = torch.backends.cuda
    kernels = {
        "flash": cuda.flash_sdp_enabled,
        "memory efficient": cuda.mem_efficient_sdp_enabled,
        "cuDNN": cuda.cudnn_sdp_enabled,
        "math": cuda.math_sdp_enabled,
    }
    return ", ".join(name for name, is_enabled in kernels.items() if is_enabled())


def _ask(question: Callable[[], Any]) -> str:
    """Torch refuses some of its flags once the newer words for them were used."""
    try:
        return str(question())
    except (RuntimeError, AttributeError) as e:
        return f"not told: {str(e).splitlines()[0]}"
