"""Writing files atomically, with errors that say in one sentence what could not be written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import BadRequest


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to `path` at the end. After an error `path` is as it was before.

    Raises BadRequest if `path` is a folder or cannot be written.
    """
    if not path.name or os.path.isdir(path):  # unlike Path.is_dir, it never raises PermissionError
        raise BadRequest(f"'{path}' cannot be written: it is a folder.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with explain_write_errors(path):
            yield part
            os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def make_folder(folder: Path) -> Path:
    """Make a folder and its parents if they do not exist, and return it. Raises BadRequest if that is impossible."""
    if os.path.isfile(folder):
        raise BadRequest(f"'{folder}' cannot be written: it is a file, not a folder.")
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside the `with` into a BadRequest that says which path cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise BadRequest(f"'{path}' cannot be written: {error.strerror or error}.") from error
