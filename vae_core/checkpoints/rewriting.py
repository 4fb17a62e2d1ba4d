"""A file of weights written again as .safetensors: the same names, shapes and dtypes, other numbers in some tensors.

The way back from reference names is the reading of the very file (`Detection.names`), so whatever layout and prefix it
came in, it leaves in; what a full checkpoint holds beside its VAE goes along. Tensors are written one after another,
and so are never in memory together.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..files.atomic import write_atomically
from ..files.safetensors_header import BITS, tensor_bytes
from .files import Checkpoint

ALIGNED = 8  # bytes; the header is padded to it, and wider numbers come first, so tensors lie where a CPU likes them


def in_file(names: Mapping[str, str], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under reference names -> under the file's own. names: reference name -> the file's (`Detection.names`)"""
    return {names[name]: tensor for name, tensor in weights.items()}


def rewrite(
    checkpoint: Checkpoint, target: Path, replaced: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write all of a checkpoint to `target`, which may not be one of its files.

    replaced   by the file's own names: cast to the dtype the file has, and given its shape
    metadata   added to the file's own
    Raises BadRequest if it cannot be written, BrokenCheckpoint if the tensors cannot be read.
    """
    entries = checkpoint.entries
    files = {file: n for n, file in enumerate(checkpoint.files)}
    names = sorted(entries, key=lambda name: (files[entries[name].file], -BITS[entries[name].dtype], name))
    table: dict[str, object] = {"__metadata__": {"format": "pt", **checkpoint.metadata, **(metadata or {})}}
    end = 0
    for name in names:
        begin, end = end, end + tensor_bytes(entries[name].shape, entries[name].dtype)
        table[name] = {"dtype": entries[name].dtype, "shape": entries[name].shape, "data_offsets": [begin, end]}
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % ALIGNED)
    with write_atomically(target) as part, part.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, old in checkpoint.tensors(names):
            new = replaced.get(name)
            _write(file, old if new is None else new.detach().to("cpu", old.dtype).reshape(old.shape))


def _write(file: BinaryIO, tensor: Tensor) -> None:
    file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
