"""Numbered files in a folder. Their prefix comes from a graph, so it is not trusted."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadRequest
from .atomic import explain_write_errors, make_folder

_BATCH = "%batch_num%"


@dataclass(frozen=True)
class Series:
    """Numbered files: stem_00001_.png, stem_00002_.png."""

    folder: Path
    subfolder: str
    stem: str
    first: int

    def file_name(self, index: int, suffix: str) -> str:
        """The name of the index-th file of a run."""
        return f"{self.stem.replace(_BATCH, str(index))}_{self.first + index:05}_{suffix}"


def next_series(folder: Path, prefix: str, tokens: Mapping[str, int]) -> Series:
    """The next free numbers for a prefix. Makes the prefix's subfolder.

    prefix: may contain subfolders, %width%, %height% (from `tokens`), %year%, %month%, %day%, %hour%, %minute%,
    %second% and %batch_num%.
    Raises BadRequest for a place outside the folder, and for one that cannot be written.
    """
    subfolder, stem = os.path.split(os.path.normpath(_expand(prefix, tokens)))
    stem = "" if stem == "." else stem
    target = resolve_inside(folder, subfolder)
    with explain_write_errors(target):
        taken = [one.name for one in make_folder(target).iterdir()]
    return Series(target, subfolder.replace(os.sep, "/"), stem, _next_number(stem, taken))


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
    # Files of one run that differ in %batch_num% are numbered as one series.
    pattern = re.compile(re.escape(stem).replace(re.escape(_BATCH), r"\d+") + r"_(\d+)_?(\..*)?")
    numbers = [int(found[1]) for found in map(pattern.fullmatch, taken) if found]
    return max(numbers, default=0) + 1
