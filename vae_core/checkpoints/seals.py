"""Are the numbers of a file those that were saved? Only where it can be told.

Checksums of the tensors of a PyTorch file, which is a zip archive: of each entry it says length and CRC-32.

torch maps such a file without looking at them. They are compared here before a number is used, of those tensors only
that are asked for: about a second for each gigabyte, most of which it takes to read them from a disk anyway. What was
found right is trusted by the mark of its file (name, number, size, time) while the process lasts.
"""

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..errors import BrokenCheckpoint
from ..files.marks import FileMark

Seals = frozenset[tuple[int, int]]  # (bytes, CRC-32) of the entries of a file
NONE = 0  # what torch writes for a CRC-32 that it was told not to compute
AGAIN = "download it again"
FILES = 64  # whose tensors are remembered as checked
TAIL = 2**20  # bytes at the end of a file; no network that was trained ends in so many zeros


def read_seals(path: Path) -> Seals:
    """Those of a file; none if it is no zip archive, as files of torch before 1.6."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset((entry.file_size, entry.CRC) for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return frozenset()


@lru_cache(maxsize=FILES)
def _find_checked(mark: FileMark) -> set[str]:
    """Names of the tensors of this file that have been found right; whoever checks others adds them."""
    return set()


def check(mark: FileMark, seals: Seals, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The same (name, tensor). Raises BrokenCheckpoint, naming the tensor, if its bytes are not those of an entry."""
    path, checked, seen = mark.path, _find_checked(mark), set[int]()
    for name, tensor in tensors:
        storage = tensor.untyped_storage()
        if seals and name not in checked and storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            size = storage.nbytes()
            if (size, NONE) not in seals and (size, zlib.crc32(_bytes(tensor))) not in seals:
                raise BrokenCheckpoint(
                    f"'{path}' is damaged: the numbers of '{name[:80]}' are not those saved; {AGAIN}."
                )
        checked.add(name)
        yield name, tensor


@lru_cache(maxsize=FILES)
def demand_end(mark: FileMark) -> None:
    """Raise BrokenCheckpoint for a safetensors file that ends in zeros: room a download has taken and not filled.

    One whose numbers begin with zeros, too, was made so: for trying out, from its header.
    """
    if mark.size < 2 * TAIL:
        return
    with mark.path.open("rb") as file:
        numbers = 8 + int.from_bytes(file.read(8), "little")  # behind the header
        ends, begins = (_has_zeros(file, place) for place in (mark.size - TAIL, numbers))
    if ends and not begins:
        raise BrokenCheckpoint(
            f"'{mark.path}' ends in zeros, as the file of a download that has not ended does: {AGAIN}."
        )


def _has_zeros(file: BinaryIO, place: int) -> bool:
    """Are there only zeros from this place on, as far as TAIL reaches?"""
    file.seek(place)
    return not file.read(TAIL).strip(b"\0")


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
