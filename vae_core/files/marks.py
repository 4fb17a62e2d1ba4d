"""Has a file been written to since? Told by its number on the disk, its size and its time, without reading it."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from ..errors import BrokenCheckpoint


class FileMark(NamedTuple):
    """What a file was when it was read. node: the number of the file itself, which another one of its name has not."""

    path: Path
    node: tuple[int, int]
    size: int
    time: int

    @classmethod
    def of(cls, path: Path) -> "FileMark":
        """Raises OSError if there is no file."""
        stat = os.stat(path)
        return cls(path, (stat.st_dev, stat.st_ino), stat.st_size, stat.st_mtime_ns)

    def demand_same(self) -> None:
        """Raise BrokenCheckpoint if the file has been written to or replaced; what is read now would not fit."""
        if _read(self.path) != self:
            raise BrokenCheckpoint(f"'{self.path}' was changed while it was read: load it again when it is complete.")

    def is_written_to(self) -> bool:
        """Has this very file been written to since?

        A file that was deleted or replaced by another one is still there for whom it is mapped to.
        """
        now = _read(self.path)
        return now is not None and now.node == self.node and now != self


class FileMap(NamedTuple):
    """A file that is mapped into memory, and where the tensors that lie in it begin in memory."""

    mark: FileMark
    pointers: frozenset[int]

    def holds_any(self, tensors: Iterable[Tensor]) -> bool:
        return any(t.data_ptr() in self.pointers for t in tensors)


class Mapped(Protocol):
    """What has weights that may lie in files."""

    name: str
    mapped: tuple[FileMap, ...]

    @property
    def network(self) -> nn.Module: ...


def demand_unwritten(vae: Mapped) -> None:
    """Raise BrokenCheckpoint if a file that its weights still lie in has been written to since it was loaded."""
    for one in vae.mapped:
        if one.mark.is_written_to() and one.holds_any(vae.network.state_dict().values()):
            raise BrokenCheckpoint(
                f"'{one.mark.path}' has been written to since '{vae.name}' was loaded from it, and its weights were "
                "not copied: load it again; mapped=False copies them."
            )


def _read(path: Path) -> FileMark | None:
    try:
        return FileMark.of(path)
    except OSError:
        return None
