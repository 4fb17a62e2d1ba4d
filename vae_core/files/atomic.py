"""Files appear whole or not at all, and what cannot be written is said in one sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import BadRequest


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to. It becomes `path` when all is written; never half a file there."""
    if not path.name or os.path.isdir(path):  # which does not raise for a path that may not be looked at
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
    """The folder, which is made if it is not there. Raises BadRequest if it cannot be."""
    if os.path.isfile(folder):
        raise BadRequest(f"'{folder}' cannot be written: it is a file, not a folder.")
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Say in one sentence what cannot be written."""
    try:
        yield
    except OSError as error:
        raise BadRequest(f"'{path}' cannot be written: {error.strerror or error}.") from error
