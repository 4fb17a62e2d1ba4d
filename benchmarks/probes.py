"""Measurements of one process, for house.py: `python benchmarks/probes.py NAME` prints one JSON value.

The pack is the `exact_vae` that Python finds, so the same probes measure any commit of it. `list_files` names the files
that `files_entered` counts.
"""

import json
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any

import psutil  # noqa: F401  the host has imported these before it loads a pack
import safetensors.torch
import torch

HEADERS = Path(__file__).parents[1] / "tests" / "headers"
SIDE = 64  # pixels
LARGE = 512  # pixels
LOADS = 7
WORDS = {torch.float16: "F16", torch.float32: "F32"}  # of safetensors


class CoreVAE:
    """What the pack sees of a VAE that ComfyUI's own loader made, changed by nobody."""

    latent_channels = 4
    vae_dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self, network: torch.nn.Module):
        self.first_stage_model = network
        self.patcher = SimpleNamespace()
        self.process_input = self.process_output = lambda image: image

    def encode(self, pixels: torch.Tensor) -> torch.Tensor: ...

    def decode(self, samples: torch.Tensor) -> torch.Tensor: ...

    def spacial_compression_encode(self) -> int:
        return 8


def files_entered() -> dict[str, int]:
    """How many files of the pack are entered when a node encodes and when it decodes 64 px with the built-in VAE."""
    return {when: len(files) for when, files in list_files().items()}


def list_files() -> dict[str, list[str]]:
    """The files that `files_entered` counts, by their paths in the pack."""
    nodes, image = _nodes(), torch.rand(1, SIDE, SIDE, 3)
    (vae,) = _call(nodes["ExactVAELoader"], vae_name=_built_in(nodes))
    files = {}
    for when in ("first", "second"):
        entered, (latent,) = _count_files(lambda: _call(nodes["ExactVAEEncode"], pixels=image, vae=vae))
        files[f"encode, {when} call"] = sorted(entered)
        entered, _ = _count_files(lambda latent=latent: _call(nodes["ExactVAEDecode"], samples=latent, vae=vae))
        files[f"decode, {when} call"] = sorted(entered)
    return files


def networks_assembled() -> dict[str, int]:
    """Networks that weights are put into: by `load`, and by nodes that are given a VAE of ComfyUI's own loader."""
    from exact_vae.vae_core import load
    from exact_vae.vae_core.families import Network

    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder, "taesd.safetensors")  # by this name its latent space is known
        shapes = json.loads((HEADERS / "taesd.module.json").read_text())["shapes"]
        safetensors.torch.save_file({name: torch.randn(shape) * 0.05 for name, shape in shapes.items()}, tiny)
        built = _count_assemblies(Network)
        counts["load, built-in VAE"] = built(lambda: load())
        counts["load, tiny VAE"] = built(lambda: load(tiny))
    nodes, network = _nodes(), load().network
    _stand_in_for_comfyui()
    core = CoreVAE(network)
    image, latent = torch.rand(1, SIDE, SIDE, 3), {"samples": torch.randn(1, 4, SIDE // 8, SIDE // 8)}
    counts["encode with a core VAE"] = built(lambda: _call(nodes["ExactVAEEncode"], pixels=image, vae=core))
    counts["decode with a core VAE"] = built(lambda: _call(nodes["ExactVAEDecode"], samples=latent, vae=core))
    return counts


def inspection() -> dict[str, float]:
    """Milliseconds to inspect a file: the first file after the import, and the median of one file of each header."""
    from exact_vae.vae_core import VAEError, inspect

    seconds, again = [], []
    with tempfile.TemporaryDirectory() as folder:
        for header in ("sd1.ldm", *sorted(path.stem for path in HEADERS.glob("*.json"))):
            path = Path(folder, f"{len(seconds)}.safetensors")
            write_sparse_file(path, json.loads((HEADERS / f"{header}.json").read_text())["shapes"])
            try:
                seconds.append(_time(lambda path=path: inspect(path)))
                again.append(_time(lambda path=path: inspect(path)))
            except VAEError:  # files that are not supported have headers too
                continue
            finally:
                path.unlink()
    return {
        "first file after the import": 1000 * seconds[0],
        "a file of each known header": 1000 * statistics.median(seconds[1:]),
        "the same file again": 1000 * statistics.median(again[1:]),
    }


def speed() -> dict[str, float]:
    """Seconds of `load` (median) and of one decode of 512 px, both of the built-in VAE."""
    from exact_vae.vae_core import load

    vae = load()
    latent = torch.randn(1, vae.latent_channels, LARGE // vae.spatial_ratio, LARGE // vae.spatial_ratio)
    vae.decode(latent[..., :8, :8])
    return {
        "load": statistics.median(_time(load) for _ in range(LOADS)),
        "decode 512 px": _time(lambda: vae.decode(latent)),
    }


def _nodes() -> dict[str, Any]:
    import exact_vae

    return exact_vae.NODE_CLASS_MAPPINGS


def _built_in(nodes: dict[str, Any]) -> str:
    names = nodes["ExactVAELoader"].INPUT_TYPES()["required"]["vae_name"][0]
    return next(name for name in names if "built in" in name)


def _call(node: Any, **inputs: Any) -> tuple[Any, ...]:
    """What a node gives to its outputs, called as ComfyUI calls it."""
    with torch.inference_mode():
        returned = getattr(node(), node.FUNCTION)(**inputs)
    return returned["result"] if isinstance(returned, dict) else returned


def _count_files(work: Callable[[], Any]) -> tuple[set[str], Any]:
    """(files of the pack whose functions were called, the result). Module bodies count: a late import is a visit."""
    import exact_vae

    root, entered = str(Path(exact_vae.__file__ or "").parent), set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(root) and path != __file__:
            entered.add(path.removeprefix(root + "/"))

    sys.setprofile(note)
    try:
        result = work()
    finally:
        sys.setprofile(None)
    return entered, result


def _count_assemblies(network: type) -> Callable[[Callable[[], Any]], int]:
    """A function that runs some work and counts the networks that got their weights in it."""
    calls: list[int] = []
    load_state_dict = torch.nn.Module.load_state_dict

    def counted(self: torch.nn.Module, *arguments: Any, **options: Any) -> Any:
        if isinstance(self, network):
            calls.append(1)
        return load_state_dict(self, *arguments, **options)

    torch.nn.Module.load_state_dict = counted

    def count(work: Callable[[], Any]) -> int:
        calls.clear()
        work()
        return len(calls)

    return count


def _stand_in_for_comfyui() -> None:
    """Modules by which the pack knows that it is in ComfyUI, with the few functions that its nodes call."""
    management = ModuleType("comfy.model_management")
    utils = ModuleType("comfy.utils")
    running = ModuleType("comfy_execution.utils")
    comfy = ModuleType("comfy")
    vars(management).update(
        load_models_gpu=lambda models, **options: None,
        intermediate_device=lambda: torch.device("cpu"),
        intermediate_dtype=lambda: torch.float32,
        throw_exception_if_processing_interrupted=lambda: None,
    )
    vars(utils).update(ProgressBar=lambda total: SimpleNamespace(update_absolute=lambda done, total: None))
    vars(running).update(get_executing_context=lambda: None)
    vars(comfy).update(model_management=management, utils=utils)
    for module in (comfy, management, utils, running):
        sys.modules[module.__name__] = module
    for name in ("folder_paths", "comfy.sd", "comfy_execution"):
        sys.modules[name] = ModuleType(name)


def write_sparse_file(path: Path, shapes: dict[str, list[int]], dtype: torch.dtype = torch.float16) -> None:
    """A .safetensors file of these shapes, whose numbers are a hole: zeros that take no room on the disk."""
    entries, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + dtype.itemsize * torch.Size(shape).numel()
        entries[name] = {"dtype": WORDS[dtype], "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + end)


def _time(work: Callable[[], Any]) -> float:
    """Seconds of the processor, which other processes disturb less than those of the clock."""
    start = time.process_time()
    work()
    return time.process_time() - start


PROBES = {probe.__name__: probe for probe in (files_entered, list_files, networks_assembled, inspection, speed)}

if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]]()))
