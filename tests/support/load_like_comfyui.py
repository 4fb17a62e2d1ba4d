"""A script for a bare interpreter: loads the pack as ComfyUI does, calls every node once, and writes a report as JSON.

    python -I -B load_like_comfyui.py PACK_FOLDER WORK_FOLDER

The host names the module by the folder's absolute path with '.' as '_x_', and has its own modules first on sys.path.
"""

import copy
import importlib.util
import inspect
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy
import psutil  # noqa: F401  what the host has imported before it loads any pack
import safetensors.torch  # noqa: F401
import torch
from PIL import Image

# Modules that lie bare on the host's sys.path, and our own packages: nothing here may be imported without a dot.
BARE = ("utils", "ops", "sd", "taesd", "nodes", "execution", "server", "vae_core", "cli", "headless", "training")
OVERRIDES = {
    "ExactConvertLatent": {"latent_space": "sd1"},  # the built-in VAE's latents are of no known space
    "ExactEncodeFolder": {"width": 16, "height": 16, "step": 8},
    "ExactVAEDoctor": {"width": 64, "keep_verdict": False},  # at its usual size it takes minutes
}


def load(folder: Path) -> types.ModuleType:
    """As load_custom_node of the host's nodes.py does it."""
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def set_traps(folder: Path) -> None:
    folder.mkdir()
    for name in BARE:
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} was imported without a dot')\n")
    sys.path.insert(0, str(folder))
    sys.modules["exact_vae"] = None  # type: ignore[assignment]  # importing it raises, also where it is installed


def list_inputs(cls: Any) -> dict[str, Any]:
    found = cls.INPUT_TYPES()
    return {**found["required"], **found.get("optional", {})}


def describe_node(cls: Any) -> dict[str, Any]:
    method = inspect.signature(getattr(cls, cls.FUNCTION))
    return {
        "inputs": {
            name: [kind if isinstance(kind, str) else "COMBO", options["tooltip"]]
            for name, (kind, options) in list_inputs(cls).items()
        },
        "takes": list(method.parameters)[1:],
        "returns": list(cls.RETURN_TYPES),
        "module": cls.__module__,
    }


def make_arguments(node: str, cls: Any, sockets: dict[str, Any]) -> dict[str, Any]:
    """Every declared input: what a wire brings, or what the widget shows at first."""
    found = {}
    for name, (kind, options) in list_inputs(cls).items():
        if isinstance(kind, list):
            found[name] = options.get("default", kind[0])
        else:
            found[name] = sockets[kind] if kind in sockets else options["default"]
    return {**found, **OVERRIDES.get(node, {})}


def call(cls: Any, given: dict[str, Any]) -> tuple[Any, ...]:
    with torch.inference_mode():  # as the host runs nodes
        found = getattr(cls(), cls.FUNCTION)(**given)
    return found["result"] if isinstance(found, dict) else found


def snapshot(value: Any) -> Any:
    """A copy to compare with later; of a VAE its weights."""
    if hasattr(value, "network"):
        return {name: tensor.clone() for name, tensor in _tensors(value.network).items()}
    return copy.deepcopy(value)


def _tensors(thing: Any, above: str = "", seen: Any = None) -> dict[str, torch.Tensor]:
    """All tensors that can be reached from a network, which is data."""
    seen = set() if seen is None else seen
    if isinstance(thing, torch.Tensor):
        return {above: thing}
    if id(thing) in seen or isinstance(thing, str | int | float | None | type):
        return {}
    seen.add(id(thing))
    if isinstance(thing, dict):
        parts = thing.items()
    elif isinstance(thing, list | tuple):
        parts = enumerate(thing)
    else:
        parts = getattr(thing, "__dict__", {}).items()
    found: dict[str, torch.Tensor] = {}
    for key, part in parts:
        found |= _tensors(part, f"{above}.{key}", seen)
    return found


def is_same(now: Any, before: Any) -> bool:
    if isinstance(now, torch.Tensor):
        return isinstance(before, torch.Tensor) and now.dtype == before.dtype and torch.equal(now, before)
    if hasattr(now, "unbind"):  # several latents as one object
        return all(is_same(a, b) for a, b in zip(now.unbind(), before.unbind(), strict=True))
    if type(now).__name__ == "VideoPath":
        return now.path == before.path
    if isinstance(now, dict):
        return now.keys() == before.keys() and all(is_same(now[key], before[key]) for key in now)
    return now == before


def run(pack: types.ModuleType) -> dict[str, Any]:
    """Node -> how many results it gave, and the inputs that it changed."""
    classes = pack.NODE_CLASS_MAPPINGS
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 20, 28, 3, generator=generator)
    (vae,) = call(classes["ExactVAELoader"], {"vae_name": list_inputs(classes["ExactVAELoader"])["vae_name"][0][0]})
    (latent,) = call(classes["ExactVAEEncode"], {"pixels": image, "vae": vae})
    mask = (torch.rand(1, 20, 28, generator=generator) > 0.7).float()
    sockets = {"VAE": vae, "IMAGE": image, "MASK": mask, "LATENT": {**latent, "noise_mask": mask[:, None]}}
    sockets |= {"AUDIO": {"waveform": torch.zeros(1, 2, 900), "sample_rate": 22050}, "VIDEO": None}
    video = call(
        classes["ExactVAEDecodeToVideoFile"], make_arguments("", classes["ExactVAEDecodeToVideoFile"], sockets)
    )
    sockets["VIDEO"] = video[0]
    (several,) = call(classes["ExactJoinLatents"], {"samples1": latent, "samples2": latent})
    told = {}
    for node, cls in classes.items():
        given = make_arguments(node, cls, {**sockets, "LATENT": several} if node == "ExactSplitLatent" else sockets)
        before = {name: snapshot(value) for name, value in given.items()}
        results = call(cls, given)
        changed = [name for name, value in given.items() if not is_same(snapshot(value), before[name])]
        told[node] = {"results": len(results), "changed": changed, "weights": len(snapshot(vae))}
    return told


def global_settings() -> dict[str, Any]:
    """What is one for the whole process, and no pack's to change."""
    return {
        "grad": torch.is_grad_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "threads": torch.get_num_threads(),
        "dtype": str(torch.get_default_dtype()),
        "random": torch.initial_seed(),
        "numpy": numpy.geterr(),
        "cuda": torch.cuda.is_initialized(),
    }


def top_level_modules() -> set[str]:
    return {name.partition(".")[0] for name, module in sys.modules.items() if module and not name.startswith("/")}


def main(folder: Path, work: Path) -> dict[str, Any]:
    set_traps(work / "bare")
    before, loaded = global_settings(), top_level_modules()
    pack = load(folder)
    after, more = global_settings(), top_level_modules() - loaded - set(sys.stdlib_module_names)
    made = sorted(path.name for path in work.iterdir())
    nodes = {node: describe_node(cls) for node, cls in pack.NODE_CLASS_MAPPINGS.items()}
    surroundings = sys.modules[f"{pack.__name__}.nodes.host"].surroundings
    (work / "models").mkdir()
    (work / "output").mkdir()
    Image.new("RGB", (28, 20), "teal").save(work / "output" / "image.png")  # for nodes that read a folder
    with surroundings(work / "models", None, work / "output", work / "output"):  # Load Latent finds what Save wrote
        ran = run(pack)
    return {
        "name": pack.__name__,
        "web": pack.WEB_DIRECTORY,
        "display": pack.NODE_DISPLAY_NAME_MAPPINGS,
        "nodes": nodes,
        "ran": ran,
        "settings": [before, after],
        "more modules": sorted(more),
        "files made": made,
        "bare": sorted(set(BARE) & set(sys.modules)),
    }


if __name__ == "__main__":
    said = main(Path(sys.argv[1]), Path(sys.argv[2]))
    Path(sys.argv[2], "said.json").write_text(json.dumps(said))
