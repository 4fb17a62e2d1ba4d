"""Writing files atomically, with errors that say in one sentence what could not be written."""

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from ..errors import BadRequest, explain_os_errors
from .parts import open_part, sweep_parts


class Target(Protocol):
    """Where a file goes, if that is not a path: what is written lies beside `path`, then `take` gives it its name."""

    @property
    def path(self) -> Path: ...
    @property
    def suffix(self) -> str: ...
    def take(self, part: Path) -> None: ...


@contextmanager
def write_atomically(target: Path | Target) -> Iterator[Path]:
    """Give a temporary path to write to, and give that file the target's name at the end.

    After an error the target is as it was before, and what replaces a file may be read by those who could read that.
    A symbolic link is replaced, not what it points to: models often lie in a cache that must not change. Parts that
    killed processes have left in its folder are removed.
    Raises BadRequest if the target is a folder or a device, or cannot be written.
    """
    path = target if isinstance(target, Path) else target.path
    demand_place(path)
    with explain_write_errors(path):
        if isinstance(target, Path):  # of a series' folder they are removed once
            sweep_parts(path.parent)
        with open_part(path.parent) as part:
            yield part
            if isinstance(target, Path):
                _keep_mode(target, part)
                os.replace(part, target)
            else:
                target.take(part)


def make_folder(folder: Path) -> Path:
    """Make a folder and its parents if they do not exist, and return it. Raises BadRequest if that is impossible."""
    _demand_name(folder)
    if os.path.lexists(folder) and not os.path.isdir(folder):
        what = "a file" if os.path.isfile(folder) else "a device, a pipe or a link to nothing"
        raise BadRequest(f"'{folder}' cannot be written: it is {what}, not a folder.")
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def explain_write_errors(path: Path) -> AbstractContextManager[None]:
    """Turn an OSError inside the `with` into a BadRequest that says which path cannot be written, and why."""
    return explain_os_errors(f"'{path}' cannot be written")


def demand_place(path: Path) -> None:
    """Raise BadRequest unless a file can get this name, and whatever has it now may be replaced."""
    _demand_name(path)
    if not path.name or os.path.isdir(path):  # unlike Path.is_dir, it never raises PermissionError
        raise BadRequest(f"'{path}' cannot be written: it is a folder.")
    with explain_write_errors(path):
        if os.path.lexists(path) and not _is_replaceable(path.lstat().st_mode):
            raise BadRequest(f"'{path}' cannot be written: it is a device or a pipe, not a file.")
        if not os.path.lexists(path.parent):
            raise BadRequest(f"'{path}' cannot be written: there is no folder '{path.parent}'.")
        os.stat(path.parent)


def _keep_mode(target: Path, part: Path) -> None:
    """Who may read and write the target, if it is there, may do so with the part."""
    with suppress(OSError):  # there is none, or the disk has no such modes
        if not target.is_symlink():
            part.chmod(stat.S_IMODE(target.stat().st_mode))


def _demand_name(path: Path) -> None:
    """Raise BadRequest for letters that no system has in names: NUL, and halves of a surrogate pair from JSON."""
    try:
        impossible = b"\0" in os.fsencode(path)
    except UnicodeEncodeError:
        impossible = True
    if impossible:
        raise BadRequest(f"{str(path)!a} cannot be written: no file can have a name with such letters.")


def _is_replaceable(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)
