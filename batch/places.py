"""Places that are no paths of this machine: s3://, gs:// and the like, through fsspec.

A `UPath` of universal-pathlib has the methods of a `Path` that this package uses, and stands for one; what it cannot do
is here. A place that is on this machine, file:// too, is a plain `Path`.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..vae_core import BadRequest, files
from ..vae_core.files import LARGEST_JSON, NO_NAME

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # one letter is a drive of Windows
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "created")
# what stores say of an object that changes with its bytes, the surest first


def parse_place(said: str) -> Path:
    """A path, or a URL of a store. Raises BadRequest if a package for it is missing, or it cannot be reached."""
    if not said:
        raise BadRequest(f"{NO_NAME}.")
    if not _URL.match(said):
        return Path(said)
    scheme = said.partition("://")[0].lower()
    if scheme == "file":
        parts = urlsplit(said)
        return Path(unquote(parts.path)) if parts.netloc in ("", "localhost") else Path(f"//{parts.netloc}{parts.path}")
    return _reach(said, scheme)


def _reach(said: str, scheme: str) -> Any:
    try:
        upath = import_module("upath")
    except ImportError as error:
        raise BadRequest(f"'{said}' needs fsspec and universal-pathlib: pip install \"exact-vae[remote]\".") from error
    try:
        place = upath.UPath(said)
        assert place.fs is not None  # it is made when it is first asked for
        return place
    except ImportError as error:
        raise BadRequest(f"'{said}' needs a package for {scheme}://: {error}.") from error
    except ValueError as error:
        raise BadRequest(f"'{said}' is in no store that fsspec knows: {error}.") from error


def is_remote(place: Path) -> bool:
    return not isinstance(place, Path)


def is_same(place: Path, other: Path) -> bool:
    """Are both the same place?"""
    if is_remote(place) or is_remote(other):
        return str(place).rstrip("/") == str(other).rstrip("/")
    return place.resolve() == other.resolve()


def place_at(folder: Path, name: str) -> Path:
    """A path in a folder, or what the name says if it is a path or a URL of its own."""
    return parse_place(name) if _URL.match(name) else folder / name


def demand_file(place: Path) -> Path:
    """Raises BadRequest if there is no file at this place, or it cannot be reached."""
    if not is_remote(place):
        return files.demand_file(place)
    with explain_reading(place):
        if not place.is_file():
            raise BadRequest(f"there is no file '{place}'.")
    return place


@contextmanager
def explain_reading(place: Path) -> Iterator[None]:
    """Turn whatever the package of a store raises, which has no common class, into a BadRequest."""
    try:
        yield
    except BadRequest:
        raise
    except Exception as error:
        if not is_remote(place):
            raise
        raise BadRequest(f"'{place}' cannot be reached: {str(error) or type(error).__name__}.") from error


def read_stamp(place: Path) -> tuple[int, int]:
    """(bytes, a number that is another when the file was changed)"""
    status: Any = place.stat()
    if not is_remote(place):
        return status.st_size, status.st_mtime_ns
    info = status.as_info()
    mark = next((str(info[name]) for name in _MARKS if info.get(name)), "")
    return status.st_size, int(hashlib.sha256(mark.encode()).hexdigest()[:12], 16)


def list_names(folder: Any) -> Iterator[str]:
    """Names of all files in a folder of a store and below, relative to it, in order."""
    with explain_reading(folder):
        found = folder.fs.find(folder.path)
    above = folder.path.rstrip("/") + "/"
    names = ("/" + name if above.startswith("/") and not name.startswith("/") else name for name in found)
    return iter(sorted(name.removeprefix(above) for name in names))


def read_part(place: Any, first: int, size: int) -> bytes:
    """So many bytes of a file. Raises OSError."""
    if is_remote(place):
        return place.fs.cat_file(place.path, start=first, end=first + size)
    with place.open("rb") as file:
        file.seek(first)
        return file.read(size)


@contextmanager
def bring_here(place: Any) -> Iterator[Path]:
    """The file on this machine. Of a store it is a copy, which is removed after. Raises OSError."""
    if not is_remote(place):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="exact-vae-") as folder:
        path = Path(folder, place.name[-100:] or "file")
        path.write_bytes(place.fs.cat_file(place.path))  # not by open: threads share what the store in memory opens
        yield path


@contextmanager
def write_whole(place: Any) -> Iterator[Path]:
    """`write_atomically`; of a store, the file on this machine that is sent there in the end, whole or not at all."""
    if not is_remote(place):
        with files.write_atomically(place) as part:
            yield part
        return
    with tempfile.TemporaryDirectory(prefix="exact-vae-") as folder:
        part = Path(folder, "part")
        part.touch()
        yield part
        _send(part, place)


def _send(part: Path, place: Any) -> None:
    """In a transaction: what is sent only in part does not appear."""
    try:
        with place.fs.transaction, place.fs.open(place.path, "wb") as target, part.open("rb") as source:
            shutil.copyfileobj(source, target)
    except Exception as error:  # whatever the store's package raises
        raise BadRequest(f"'{place}' cannot be written: {str(error) or type(error).__name__}.") from error


def make_folder(place: Path) -> Path:
    """As `files.make_folder`; stores have folders where files are, but local ones of fsspec need them."""
    if not is_remote(place):
        return files.make_folder(place)
    with explain_reading(place):
        place.mkdir(parents=True, exist_ok=True)
    return place


def remove_tree(place: Any) -> None:
    """Remove a folder and all in it, if it is there."""
    if not is_remote(place):
        shutil.rmtree(place, ignore_errors=True)
    elif place.exists():
        place.fs.rm(place.path, recursive=True)


def read_json(place: Path) -> Any:
    """As `files.read_json`."""
    if not is_remote(place):
        return files.read_json(place)
    with explain_reading(demand_file(place)), place.open("rb") as file:
        content = file.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise BadRequest(f"'{place}' is too large for a table of JSON: {LARGEST_JSON // 2**20} MiB are the most.")
    return files.parse_json(content.decode("utf-8-sig"))


def read_metadata(place: Path) -> dict[str, str]:
    """The metadata of a safetensors file in a store, of which only the header is read. Raises BadRequest."""
    with explain_reading(place):
        size = int.from_bytes(read_part(place, 0, 8), "little")
        if not 2 <= size <= LARGEST_JSON:
            raise BadRequest(f"'{place}' is a broken shard: its header has {size} bytes.")
        return json.loads(read_part(place, 8, size)).get("__metadata__", {})


def make_absolute(place: Path) -> Path:
    return place if is_remote(place) else Path(os.path.abspath(place))
