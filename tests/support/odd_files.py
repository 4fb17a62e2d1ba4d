"""Files as people have them, which load or are told for what they are: each made in a folder, by its name.

`READ` read as the plain file of these weights does; `REFUSED` are none, or not run here.
"""

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save, save_file
from torch import Tensor

Weights = Mapping[str, Tensor]
Make = Callable[[Path, Weights], object]


class Sent:
    """Calls a harmless name with what would do harm, were it run."""

    def __reduce__(self):
        return (print, ("code ran",))


def write_flax(path: Path) -> None:
    """As flax.serialization writes {"decoder": {"bias": an array of two numbers}}."""
    array = b"\x93\x91\x02\xa7float32\xc4\x08" + bytes(8)
    path.write_bytes(b"\x81\xa7decoder\x81\xa4bias\xc7" + bytes([len(array)]) + b"\x01" + array)


def save_program(path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)), path)


def write_index(folder: Path, weights: Weights, *parts: str) -> Path:
    """The weights in these files, and the index that names them."""
    names = sorted(weights)
    for i, part in enumerate(parts):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        save_file({name: weights[name] for name in names[i :: len(parts)]}, folder / part)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: parts[i % len(parts)] for i, name in enumerate(names)}}))
    return index


def _save(change: Callable[[Weights], dict[str, Tensor]]) -> Make:
    return lambda path, weights: save_file(change(weights), path)


def _pickle(change: Callable[[Weights], object]) -> Make:
    return lambda path, weights: torch.save(change(weights), path)


def _write(content: bytes) -> Make:
    return lambda path, weights: path.write_bytes(content)


def _name(*names: str) -> Make:
    return _save(lambda weights: {name: torch.zeros(1) for name in names})


READ: dict[str, Make] = {
    "plain.safetensors": _save(dict),
    "nested.pt": _pickle(lambda w: {"epoch": 3, "ema": {"state_dict": w}}),
    "old.ckpt": lambda path, w: torch.save({"state_dict": w}, path, _use_new_zipfile_serialization=False),
    "safetensors.pt": _save(dict),
    "pickle.safetensors": _pickle(dict),
    "compiled.safetensors": _save(lambda w: {f"model.vae._orig_mod.{name}": t for name, t in w.items()}),
}
REFUSED: dict[str, Make] = {
    "page.safetensors": _write(b"<!doctype html><html></html>"),
    "text.ckpt": _write(b"Not found\n"),
    "pointer.pt": _write(b"version https://git-lfs.github.com/spec/v1\n"),
    "empty.safetensors": _write(b""),
    "zeros.safetensors": _write(bytes(5000)),
    "program.pt": lambda path, w: save_program(path),
    "onnx.bin": _write(b"\x08\x07\x12\x07pytorch\x1a\x05" + bytes(200)),
    "code.ckpt": _pickle(lambda w: {"state_dict": w, "hook": Sent()}),
    "only_code.pt": _write(pickle.dumps({"a": Sent()}, protocol=2)),
    "flax.safetensors": lambda path, w: write_flax(path),
    "cut.safetensors": lambda path, w: path.write_bytes(save(dict(w))[:9000]),
    "lost.safetensors": _save(lambda w: {n: t for n, t in w.items() if not n.startswith("decoder.conv_out")}),
    "lora.safetensors": _name("unet.down.lora_up.weight", "unet.down.lora_down.weight"),
    "sound.safetensors": _name("vocoder.resblocks.0.convs1.0.weight"),
    "unknown.safetensors": _name("a", "b"),
    "diffusion_decoder.safetensors": _name("decoder.conv_in_x_t.weight"),
}
