"""Where scratch files lie: in a folder on a disk. The system's temporary folder may well be memory."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from ...errors import BadRequest

VARIABLE = "EXACT_VAE_SCRATCH"  # in the environment: the folder to use
MEMORY = ("tmpfs", "ramfs")  # file systems that are


class ScratchError(BadRequest):
    """A scratch file that cannot be written or read. Whoever knows what was run adds that."""


@contextmanager
def explain_scratch_errors(place: Path) -> Iterator[None]:
    """Turn an OSError inside the `with` into a ScratchError that says where scratch files lie."""
    try:
        yield
    except OSError as e:
        raise ScratchError(f"the scratch file in '{place}' cannot be written: {e.strerror or e}") from e


def folder() -> Path:
    """The folder that `EXACT_VAE_SCRATCH` names; otherwise the temporary one, or another if that is memory.

    Raises BadRequest for a name that is no folder's.
    """
    if named := os.environ.get(VARIABLE):
        if not Path(named).is_dir():
            raise BadRequest(f"there is no folder '{named}' for scratch files: {VARIABLE} must name one that is there.")
        return Path(named)
    temporary = Path(tempfile.gettempdir())
    # /var/tmp keeps its files over a restart (Filesystem Hierarchy Standard 3.0, 5.15), so it is on a disk.
    others = (Path("/var/tmp"), Path.home() / ".cache", Path.cwd())
    usable = (other for other in (temporary, *others) if os.access(other, os.W_OK) and not in_memory(other))
    return next(usable, temporary)


def free() -> int:
    """Bytes there are for scratch files; none if nothing but memory was found for them."""
    place = folder()
    return 0 if in_memory(place) and not os.environ.get(VARIABLE) else shutil.disk_usage(place).free


def in_memory(place: Path) -> bool:
    """Are files of this folder kept in memory?"""
    kinds = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    place = place.resolve()
    return next((kinds[one] in MEMORY for one in (place, *place.parents) if one in kinds), False)
