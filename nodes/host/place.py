"""Where the nodes run: in ComfyUI or in surroundings that a caller gives them, and on which device."""

# pyright: reportMissingImports=false

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...vae_core import execution
from ...vae_core.devices import demand_device

PACK = Path(__file__).parents[2]
NUMBERED = ("cuda", "xpu", "npu")  # kinds of devices of which a machine may have several
DEVICE = re.compile(rf"cpu|mps|({'|'.join(NUMBERED)})(:\d+)?")


class Surroundings(NamedTuple):
    """What a run without ComfyUI has instead: folders of models, results, inputs, and someone who watches progress."""

    models: Path
    progress: execution.Progress | None = None
    output: Path = Path("output")
    input: Path = Path("input")


_surroundings: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


@contextmanager
def surroundings(
    models: str | Path,
    progress: execution.Progress | None = None,
    output: str | Path = "output",
    input: str | Path = "input",
) -> Iterator[None]:
    """Run nodes with the models of this folder (vae/, vae_approx/, checkpoints/ in it, as in ComfyUI).

    output: the folder that nodes write to, as `filename_prefix` says. input: the folder that users put files into.
    """
    token = _surroundings.set(Surroundings(Path(models), progress, Path(output), Path(input)))
    try:
        yield
    finally:
        _surroundings.reset(token)


def in_comfyui() -> bool:
    """Is this process ComfyUI? It has imported both of these before it loads any pack."""
    return "folder_paths" in sys.modules and "comfy.sd" in sys.modules


def find_version() -> str | None:
    """ComfyUI's version, if this process is one or this pack lies in the folder of one; None otherwise."""
    if in_comfyui():
        from comfyui_version import __version__

        return str(__version__)
    with suppress(OSError, IndexError):
        text = (PACK.parents[1] / "comfyui_version.py").read_text(encoding="utf-8")
        found = re.search(r'^__version__ = "(.+)"', text, re.MULTILINE)
        return found[1] if found else None
    return None


def get_surroundings() -> Surroundings | None:
    """The surroundings a caller gave, if any."""
    return _surroundings.get()


def result(x: Tensor) -> Tensor:
    """A tensor as nodes pass it on: where the host keeps intermediate results, in the dtype it keeps them."""
    if in_comfyui():
        from comfy import model_management

        dtype = getattr(model_management, "intermediate_dtype", lambda: torch.float32)  # older hosts know no other
        return x.to(model_management.intermediate_device(), dtype())
    return x.to("cpu", torch.float32)


def list_devices() -> list[str]:
    """'cpu', and what else torch finds on this machine: 'cuda:0', 'xpu:0', 'mps' ... None of them is started."""
    kinds = [(kind, getattr(torch, kind, None)) for kind in NUMBERED]
    counts = {kind: module.device_count() for kind, module in kinds if module and module.is_available()}
    found = [f"{kind}:{i}" for kind, count in counts.items() for i in range(count)]
    return ["cpu", *found, *(["mps"] if torch.backends.mps.is_available() else [])]


def find_device(name: str) -> tuple[str, str]:
    """(what to run on of a device that a workflow names, '' or a note that it is not here).

    A workflow is shared: a device that only its author's machine has becomes 'auto'.
    """
    here = list_devices()
    is_here = name in here or any(one.startswith(f"{name}:") for one in here) or not DEVICE.fullmatch(name)
    return (name, "") if is_here else ("auto", f"this machine has no {name}")


def explain_device(name: str) -> str:
    """Why there is no device of this name on any machine; '' if there may be one."""
    if name == "auto" or DEVICE.fullmatch(name):
        return ""
    return f"there is no device '{name[:60]}': choose {', '.join(('auto', *list_devices()))}."


def device(name: str = "auto") -> torch.device:
    """'auto', 'cpu', 'cuda:0' ... -> the device a VAE runs on."""
    if name == "auto" and in_comfyui():
        from comfy import model_management

        return model_management.vae_device()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return demand_device(name)
