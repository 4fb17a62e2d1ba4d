"""The three folders that a graph may read and write."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..vae_core.errors import BadRequest
from ..vae_core.files import demand_file, resolve_inside
from .graph import find_nearest


@dataclass(frozen=True)
class Folders:
    input: Path
    output: Path
    temp: Path

    def of(self, kind: str) -> Path:
        """kind: "input", "output" or "temp"."""
        return {"input": self.input, "output": self.output, "temp": self.temp}[kind]

    def find(self, name: Any) -> Path:
        """The file meant by "x.png", "sub/x.png" or "x.png [output]". Raises BadRequest."""
        if not isinstance(name, str):
            raise BadRequest(f"the name of a file is text, not {type(name).__name__}")
        marked = re.fullmatch(r"(.*\S)\s*\[(input|output|temp)\]", name)
        plain, kind = (marked[1], marked[2]) if marked else (name, "input")
        path = resolve_inside(self.of(kind), plain)
        if not os.path.exists(path):  # which never raises, however the name is
            raise BadRequest(f"there is no file '{plain}' in the {kind} folder{self._suggest(kind, plain)}")
        return demand_file(path)

    def _suggest(self, kind: str, name: str) -> str:
        """ "; nearest is ..." if a file beside it has almost this name."""
        near = find_nearest(os.path.basename(name), self._list_beside(self.of(kind) / name))
        return f"; nearest is '{os.path.join(os.path.dirname(name), near[0])}'" if near else ""

    def _list_beside(self, path: Path) -> list[str]:
        try:
            return os.listdir(path.parent)
        except (OSError, ValueError):
            return []

    def names(self, suffixes: tuple[str, ...]) -> list[str]:
        """Files directly in the input folder with one of these endings, for a combo."""
        if not self.input.is_dir():
            return []
        return sorted(one.name for one in self.input.iterdir() if one.suffix.lower() in suffixes and one.is_file())
