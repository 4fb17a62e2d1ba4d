"""Numbered files in a folder. Their prefix comes from a graph, so it is not trusted.

A number belongs to whoever first gives a file its name: no name is ever given twice, whether threads, processes or
machines write into the folder at the same time.
"""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadRequest
from .atomic import explain_write_errors, make_folder
from .limits import DEEPEST_PREFIX, LONGEST_PREFIX
from .parts import sweep_parts

_BATCH = "%batch_num%"
_LONGEST_BATCH = 9  # digits of a number in a batch


@dataclass
class Series:
    """Numbered files: stem_00001_.png, stem_00002_.png. number: the next that seems to be free."""

    folder: Path
    subfolder: str
    stem: str
    number: int

    def file(self, index: int | None, suffix: str, *, tail: str = "_") -> "NumberedFile":
        """The index-th file of a run, which is yet to be written. tail: between its number and the suffix.

        index: None leaves a %batch_num% of the prefix as it is.
        """
        return NumberedFile(self, self.stem if index is None else self.stem.replace(_BATCH, str(index)), suffix, tail)


@dataclass
class NumberedFile:
    """The next file of a series, as `write_atomically` takes it. path: once it is written, its own; before, a guess."""

    series: Series
    stem: str
    suffix: str
    tail: str = "_"  # between the number and the suffix

    def __post_init__(self) -> None:
        self.path = self._name()

    def __str__(self) -> str:
        return str(self.path)

    def take(self, part: Path) -> None:
        """Give the part the next name that no file has. Raises OSError."""
        while not claim(part, self._name()):
            self.series.number += 1
        self.path = self._name()
        self.series.number += 1

    def _name(self) -> Path:
        return self.series.folder / f"{self.stem}_{self.series.number:05}{self.tail}{self.suffix}"


def claim(part: Path, path: Path) -> bool:
    """Give a file this name if nobody has it. Says whether that was so. Raises OSError."""
    if os.name == "nt":
        return _rename_to_new(part, path)
    try:
        os.link(part, path)  # which NFS does for one of several, too
    except FileExistsError:
        return os.path.samefile(part, path)  # NFS may lose the answer of what it did, and be asked again
    except OSError:
        return _claim_by_placeholder(part, path)
    return True


def _rename_to_new(part: Path, path: Path) -> bool:
    """On Windows, where a rename refuses a name that is taken."""
    try:
        os.rename(part, path)
    except FileExistsError:
        return False
    return True


def _claim_by_placeholder(part: Path, path: Path) -> bool:
    """Where a file cannot have two names, as on exFAT: an empty file takes the name first."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    os.replace(part, path)
    return True


def next_series(folder: Path, prefix: str, tokens: Mapping[str, int]) -> Series:
    """The next free numbers for a prefix. Makes the prefix's subfolder.

    prefix: may contain subfolders, %width%, %height% (from `tokens`), %year%, %month%, %day%, %hour%, %minute%,
    %second% and %batch_num%.
    Raises BadRequest for a place outside the folder, and for one that cannot be written.
    """
    subfolder, stem = os.path.split(os.path.normpath(_expand(demand_prefix(prefix), tokens)))
    target = resolve_inside(folder, subfolder)
    series = start_series(target, subfolder.replace(os.sep, "/"), stem, 1)
    with explain_write_errors(target):
        series.number = _next_number(stem, os.listdir(target))
    return series


def start_series(folder: Path, subfolder: str, stem: str, number: int) -> Series:
    """A series from this number on. Makes the folder, and removes what killed processes have left there."""
    sweep_parts(make_folder(folder))
    return Series(folder, subfolder, stem, number)


def demand_prefix(prefix: str) -> str:
    """The prefix. Raises BadRequest if it is no text, too long, or has too many subfolders."""
    if not isinstance(prefix, str):
        raise BadRequest(f"a prefix of file names is text, not {type(prefix).__name__}.")
    if len(prefix) > LONGEST_PREFIX:
        raise BadRequest(f"'{prefix}' is too long: a prefix of file names has {LONGEST_PREFIX} letters at most.")
    if len(Path(prefix).parts) > DEEPEST_PREFIX:
        raise BadRequest(f"'{prefix}' is too deep: a prefix of file names has {DEEPEST_PREFIX} subfolders at most.")
    return prefix


def resolve_inside(folder: Path, name: str) -> Path:
    """folder/name. Raises BadRequest if it lies outside the folder. Symbolic links inside it are the user's own."""
    root = os.path.abspath(folder)
    path = Path(os.path.abspath(os.path.join(root, name)))
    if not path.is_relative_to(root):
        raise BadRequest(f"'{name}' lies outside the folder '{root}'; a graph reads and writes only inside it")
    return path


def _expand(prefix: str, tokens: Mapping[str, int]) -> str:
    now = time.localtime()
    parts = {"month": now.tm_mon, "day": now.tm_mday, "hour": now.tm_hour, "minute": now.tm_min, "second": now.tm_sec}
    texts = {name: f"{value:02}" for name, value in parts.items()} | {"year": str(now.tm_year)}
    for name, text in {**texts, **{name: str(value) for name, value in tokens.items()}}.items():
        prefix = prefix.replace(f"%{name}%", text)
    return prefix


def _next_number(stem: str, taken: list[str]) -> int:
    return max((number for name in taken if (number := _read_number(stem, name))), default=0) + 1


def _read_number(stem: str, name: str) -> int | None:
    """The number of a file of this series: 7 of stem_00007_.png; None if it is none of it.

    Files of one run that differ in %batch_num% are numbered as one series. The number stands for each %batch_num%
    alike, so the length of the name tells how long it is; a regular expression would try every way to share digits.
    """
    count, kept = stem.count(_BATCH), _number_behind(stem, name)
    if not count or kept is not None:
        return kept
    start, fixed = stem.index(_BATCH), len(stem) - count * len(_BATCH)
    for digits in range(1, _LONGEST_BATCH + 1):
        batch = name[start : start + digits]
        if len(name) <= fixed + count * digits or not (batch.isascii() and batch.isdigit()):
            return None
        if (number := _number_behind(stem.replace(_BATCH, batch), name)) is not None:
            return number
    return None


def _number_behind(head: str, name: str) -> int | None:
    """Also of what somebody has named after such a file: 7 of stem_00007_upscaled.png."""
    found = re.fullmatch(r"_([0-9]+)(?:[_.].*)?", name[len(head) :], re.DOTALL) if name.startswith(head) else None
    return int(found[1]) if found else None
