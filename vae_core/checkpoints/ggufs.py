"""Files of weights in GGUF, ggml's format (https://github.com/ggml-org/ggml, docs/gguf.md): numbers in blocks of a few
bits, each with its scale. Read by the package `gguf` of that project, if it is installed; its functions unpack them.

A tensor has four dimensions at most there. Programs that pack others note their shape in a field whose name ends in
`gguf.orig_shape.` and the tensor's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import BrokenCheckpoint, UnknownCheckpoint
from ..files.limits import MOST_TENSORS
from ..files.reading import pause_collection

MISSING = ("'{}' is a GGUF file, weights quantised in blocks: install gguf to read it (pip install gguf), or take the "
           ".safetensors file that it was made of.")  # fmt: skip
# ggml's plain numbers, in safetensors' words; all else is unpacked to fp32.
PLAIN = {"F64": "F64", "F32": "F32", "F16": "F16", "BF16": "BF16"}
UNPACKED = "F32"
ORIGINAL_SHAPE = "gguf.orig_shape."
# What the package raises for files that are cut off, bent or of a kind that it does not know; numpy's among them.
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, OSError, ArithmeticError, MemoryError, RuntimeError)


@dataclass(frozen=True, eq=False)
class Packed:
    """One GGUF file. tensors: by name, as the package lists them, on a memory map."""

    path: Path
    tensors: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    kinds: Mapping[str, str] = field(default_factory=dict)  # ggml's words: 'Q8_0'

    def dtype(self, name: str) -> str:
        """As it is read, in safetensors' words."""
        return PLAIN.get(self.kinds[name], UNPACKED)

    def bytes(self, name: str) -> int:
        return int(self.tensors[name].n_bytes)

    @property
    def quantised(self) -> dict[str, str]:
        """Names of what is unpacked, and its kind."""
        return {name: kind for name, kind in self.kinds.items() if kind not in PLAIN}

    def read(self, names: list[str]) -> Iterator[tuple[str, Tensor]]:
        """(name, a copy of its numbers). Raises BrokenCheckpoint."""
        for name in names:
            try:
                tensor = torch.from_numpy(self._unpack(name)).reshape(self.shapes[name])
            except DAMAGE as e:
                raise BrokenCheckpoint(f"'{self.path}' cannot be read: '{name[:80]}' ({self.kinds[name]}): {e}") from e
            yield name, tensor.bfloat16() if self.kinds[name] == "BF16" else tensor

    def _unpack(self, name: str) -> Any:
        """An array of its own of fp16, fp32 or fp64."""
        stored = self.tensors[name]
        if self.kinds[name] in PLAIN and self.kinds[name] != "BF16":
            return stored.data.copy()
        return import_module("gguf").dequantize(stored.data, stored.tensor_type).copy()


def read_gguf(path: Path) -> Packed:
    """Names, shapes and kinds; no numbers. Raises BrokenCheckpoint, and UnknownCheckpoint if `gguf` is missing."""
    if not find_spec("gguf"):
        raise UnknownCheckpoint(MISSING.format(path))
    try:
        with pause_collection():
            reader = import_module("gguf").GGUFReader(path)
            tensors = {str(tensor.name): tensor for tensor in reader.tensors}
            original = _read_original_shapes(reader)
    except DAMAGE as e:
        raise BrokenCheckpoint(f"'{path}' is damaged or cut off, it cannot be read as GGUF: download it again.") from e
    if len(tensors) > MOST_TENSORS:
        raise BrokenCheckpoint(f"'{path}' names {len(tensors)} tensors, and no model has more than {MOST_TENSORS}.")
    shapes = {name: original.get(name) or _shape(tensor) for name, tensor in tensors.items()}
    return Packed(path, tensors, shapes, {name: tensor.tensor_type.name for name, tensor in tensors.items()})


def _shape(tensor: Any) -> tuple[int, ...]:
    """ggml counts dimensions from the innermost."""
    return tuple(int(n) for n in reversed(tensor.shape.tolist()))


def _read_original_shapes(reader: Any) -> dict[str, tuple[int, ...]]:
    fields = {name: one for name, one in reader.fields.items() if ORIGINAL_SHAPE in name}
    return {
        name.partition(ORIGINAL_SHAPE)[2]: tuple(int(one.parts[i][0]) for i in one.data) for name, one in fields.items()
    }
