"""Checksums of the tensors of a PyTorch file, which is a zip archive: of each entry it says length and CRC-32.

torch maps such a file without looking at them. They are compared here before a number is used, of those tensors only
that are asked for: about a second for each gigabyte, most of which it takes to read them from a disk anyway.
"""

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..errors import BrokenCheckpoint

Seals = frozenset[tuple[int, int]]  # (bytes, CRC-32) of the entries of a file
NONE = 0  # what torch writes for a CRC-32 that it was told not to compute
AGAIN = "download it again"


def read_seals(path: Path) -> Seals:
    """Those of a file; none if it is no zip archive, as files of torch before 1.6."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset((entry.file_size, entry.CRC) for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return frozenset()


def check(path: Path, seals: Seals, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The same (name, tensor). Raises BrokenCheckpoint, naming the tensor, if its bytes are not those of an entry."""
    seen: set[int] = set()
    for name, tensor in tensors:
        storage = tensor.untyped_storage()
        if seals and storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            size = storage.nbytes()
            if (size, NONE) not in seals and (size, zlib.crc32(_bytes(tensor))) not in seals:
                raise BrokenCheckpoint(
                    f"'{path}' is damaged: the numbers of '{name[:80]}' are not those saved; {AGAIN}."
                )
        yield name, tensor


def demand_held(path: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Raise BrokenCheckpoint unless the file has all numbers of its tensors: a view may repeat few ones without end."""
    for name, tensor in tensors:
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise BrokenCheckpoint(
                f"'{path}' is damaged: '{name[:80]}' has {tensor.numel()} numbers, of which the file holds only "
                f"{tensor.untyped_storage().nbytes() // tensor.element_size()}; {AGAIN}."
            )


def _bytes(tensor: Tensor) -> memoryview:
    """The whole storage of a tensor, not copied."""
    return memoryview(torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).numpy())  # type: ignore[arg-type]
