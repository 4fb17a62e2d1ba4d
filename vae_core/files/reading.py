"""Reading what other people made: regular files only, and no more of them than they may have."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from ..errors import BadRequest
from .limits import LARGEST_JSON


def demand_file(path: Path) -> Path:
    """The path of a file. Raises BadRequest if there is none, or a folder, or what gives bytes without end."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as e:  # ValueError: no file can have such a name
        raise BadRequest(f"there is no file '{path}'.") from e
    except OSError as e:
        raise BadRequest(f"'{path}' cannot be read: {e.strerror or e}.") from e
    if stat.S_ISDIR(mode):
        raise BadRequest(f"'{path}' is a folder, not a file.")
    if not stat.S_ISREG(mode):
        raise BadRequest(f"'{path}' is a device or a pipe, not a file: save what it gives as a file first.")
    return path


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises BadRequest if it cannot be read or is too large, ValueError if it is no JSON."""
    try:
        with demand_file(path).open("rb") as file:
            content = file.read(LARGEST_JSON + 1)
    except OSError as e:
        raise BadRequest(f"'{path}' cannot be read: {e.strerror or e}.") from e
    if len(content) > LARGEST_JSON:
        raise BadRequest(f"'{path}' is too large for a table of JSON: {LARGEST_JSON // 2**20} MiB are the most.")
    return parse_json(content.decode("utf-8-sig"))


def parse_json(text: str, **how: Any) -> Any:
    """`json.loads`, whose every failure is a ValueError. how: more arguments of `json.loads`."""
    try:
        return json.loads(text, **how)
    except RecursionError as e:
        raise ValueError("its lists and objects lie too deep within one another") from e
