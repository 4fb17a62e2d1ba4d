"""The files of a folder, each to the reader that knows its content."""

import os
from collections.abc import Iterator
from pathlib import Path

from ...vae_core import BadRequest
from . import diffusion_pipe, musubi, pickled, sd_scripts
from .kept import Kept, Unread

SUFFIXES = (sd_scripts.SUFFIX, musubi.SUFFIX, pickled.SUFFIX)


def list_files(folder: Path) -> list[Path]:
    """The files of a folder and of all below it that may hold latents. Raises BadRequest if it cannot be read."""

    def complain(error: OSError) -> None:
        raise BadRequest(f"'{error.filename}' cannot be read: {error.strerror or error}.") from error

    found = []
    for place, folders, names in os.walk(folder, onerror=complain):
        folders.sort()
        found += [Path(place, name) for name in sorted(names) if is_candidate(name)]
    return found


def is_candidate(name: str) -> bool:
    return name == diffusion_pipe.NAME or name.lower().endswith(SUFFIXES)


class Readers:
    """Reads file after file of a cache."""

    def __init__(self) -> None:
        self._aggregates = pickled.Aggregates()

    def read(self, path: Path) -> Iterator[Kept | Unread]:
        """The latents of a file that may hold some, and what of it cannot be read."""
        if path.name == diffusion_pipe.NAME:
            return diffusion_pipe.read(path)
        suffix = path.suffix.lower()
        if suffix == pickled.SUFFIX:
            return pickled.read(path, self._aggregates)
        return sd_scripts.read(path) if suffix == sd_scripts.SUFFIX else musubi.read(path)
