"""Reading what other people made: regular files only, and no more of them than they may have."""

import gc
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadRequest, explain_os_errors
from .limits import DEEPEST_JSON, LARGEST_JSON, LARGEST_SETTINGS

_OTHERS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
           stat.S_IFSOCK: "a socket"}  # fmt: skip
_NUMBERS = re.compile(rb"[\[\]\s\d.,eE+-]+")
LONG = 100_000  # letters of arrays of numbers that are no settings
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')

NO_NAME = "an empty name, which names no file: a variable of the shell may be unset"


def demand_file(path: Path) -> Path:
    """The path of a file. Raises BadRequest if there is none, or a folder, or what gives bytes without end."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as e:  # ValueError: no file can have such a name
        raise BadRequest(f"there is no file '{path}'.") from e
    except OSError as e:
        raise BadRequest(f"'{path}' cannot be read: {e.strerror or e}.") from e
    if not stat.S_ISREG(mode):
        raise BadRequest(f"'{path}' is {_OTHERS.get(stat.S_IFMT(mode), 'something else')}, not a file.")
    return path


def explain_read_errors(path: Path) -> AbstractContextManager[None]:
    """Turn an OSError inside the `with` into a BadRequest that says which path cannot be read, and why."""
    return explain_os_errors(f"'{path}' cannot be read")


@contextmanager
def pause_collection() -> Iterator[None]:
    """Python looks for garbage after every some hundred objects, and through all there are now and then.

    A table of thousands of entries is no garbage, and takes a third of the time without.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises BadRequest if it cannot be read or is too large, ValueError if it is no JSON."""
    return parse_json(_demand_size(path, _read_bytes(path, LARGEST_JSON), LARGEST_JSON).decode("utf-8-sig"))


def read_settings(path: Path) -> Any:
    """As `read_json`, for a config.json, which may be larger by arrays of numbers: the long ones are read as []."""
    content = _demand_size(path, _read_bytes(path, LARGEST_SETTINGS), LARGEST_SETTINGS)
    return parse_json(_demand_size(path, _leave_out_numbers(content), LARGEST_JSON).decode("utf-8-sig"))


def _read_bytes(path: Path, most: int) -> bytes:
    """All of them, or one more than the most."""
    with explain_read_errors(path), demand_file(path).open("rb") as file:
        return file.read(most + 1)


def _demand_size(path: Path, content: bytes, most: int) -> bytes:
    if len(content) > most:
        raise BadRequest(f"'{path}' is too large for a table of JSON: {most // 2**20} MiB are the most.")
    return content


def _leave_out_numbers(content: bytes) -> bytes:
    """Long runs of numbers and brackets, from their first bracket to their last, as []. Each byte is read once."""
    pieces, at = list[bytes](), 0
    for run in _NUMBERS.finditer(content):
        if run.end() - run.start() >= LONG:
            begin, end = content.find(b"[", run.start(), run.end()), content.rfind(b"]", run.start(), run.end())
            if 0 <= begin < end:
                pieces += (content[at:begin], b"[]")
                at = end + 1
    return b"".join((*pieces, content[at:]))


def parse_json(text: str, **how: Any) -> Any:
    """`json.loads`, whose every failure is a ValueError, as is a depth that others could not follow.

    how: more arguments of `json.loads`.
    """
    try:
        found = json.loads(text, **how)
        depth = _measure_depth(text)
    except RecursionError:
        found, depth = None, DEEPEST_JSON + 1
    if depth > DEEPEST_JSON:
        raise ValueError(f"its lists and objects lie more than {DEEPEST_JSON} deep within one another")
    return found


def _measure_depth(text: str) -> int:
    """How deep lists and objects of valid JSON lie within one another; 0 where they cannot lie too deep."""
    if text.count("[") + text.count("{") <= DEEPEST_JSON:
        return 0
    letters = np.frombuffer(_STRING.sub("", text).encode(), np.uint8)
    steps = np.isin(letters, list(b"[{")).astype(np.int8) - np.isin(letters, list(b"]}")).astype(np.int8)
    return int(np.cumsum(steps, dtype=np.int32).max())
