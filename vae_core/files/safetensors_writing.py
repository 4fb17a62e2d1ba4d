"""Writes safetensors tensor by tensor, so that they need not be in memory together; see safetensors_header.py."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from .atomic import Target, write_atomically
from .safetensors_header import BITS, tensor_bytes

ALIGNED = 8  # bytes; the header is padded to it, and wider numbers come first, so tensors lie where a CPU likes them
WORDS = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
         torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
         torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2"}  # fmt: skip

Layout = Mapping[str, tuple[str, Sequence[int]]]  # name -> (dtype in safetensors' words, shape)


def rank_width(dtype: str) -> int:
    """For sorting names: wide dtypes before narrow ones."""
    return -BITS[dtype]


def write_safetensors(
    target: Path | Target, layout: Layout, tensors: Iterable[Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors of any shape, in the order of the layout, with its dtypes. Raises BadRequest if that fails."""
    with write_atomically(target) as part, part.open("wb") as file:
        _write(file, layout, tensors, metadata)


def write_tensors(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors of any shape and dtype of WORDS into an open file.

    safetensors' own `save_file` puts another file in its place, which only its owner may read, and which has lost the
    lock that tells other processes that somebody is writing.
    """
    words = {name: WORDS[tensor.dtype] for name, tensor in tensors.items()}
    names = sorted(tensors, key=lambda name: (rank_width(words[name]), name))
    _write(
        file, {name: (words[name], tensors[name].shape) for name in names}, map(tensors.__getitem__, names), metadata
    )


def _write(file: BinaryIO, layout: Layout, tensors: Iterable[Tensor], metadata: Mapping[str, str]) -> None:
    header = _encode_header(layout, metadata)
    file.write(len(header).to_bytes(8, "little") + header)
    for tensor in tensors:
        tensor = tensor.detach().resolve_neg()  # of a view that negates, as `x.conj().imag`, other signs lie in memory
        file.write(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _encode_header(layout: Layout, metadata: Mapping[str, str]) -> bytes:
    table: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, (dtype, shape) in layout.items():
        begin, end = end, end + tensor_bytes(list(shape), dtype)
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    header = json.dumps(table, separators=(",", ":")).encode()
    return header + b" " * (-len(header) % ALIGNED)
