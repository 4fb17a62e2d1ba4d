"""Names and captions as text: UTF-8, or UTF-16 with its mark, as editors of Windows write it.

Bytes that are neither are kept as lone surrogates, as Python has them in names of files. No list of a cache, no header
of a shard and no table can hold those, so a source with one is left out where sources come in.
"""

import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from pathlib import Path
from typing import TextIO

from ..vae_core import BadRequest
from .limits import LONGEST_CAPTION
from .records import Skipped, Source

NAME = "its name has letters that are no UTF-8: rename it"
CAPTION = "its caption is no text in UTF-8: save it as UTF-8"
_MARKS = (BOM_UTF16_LE, BOM_UTF16_BE)


def decode_caption(content: bytes) -> str:
    """The text of at most LONGEST_CAPTION bytes, of which the last may be the first of a letter that was cut."""
    whole = len(content) < LONGEST_CAPTION
    if content.startswith(_MARKS):
        try:
            return getincrementaldecoder("utf-16")().decode(content, whole)
        except UnicodeDecodeError:
            pass  # its mark is no UTF-8, either
    return getincrementaldecoder("utf-8-sig")("surrogateescape").decode(content, whole)


def open_list(place: Path, newline: str | None = None) -> TextIO:
    """A list of sources, to be read line by line."""
    with place.open("rb") as file:
        marked = file.read(2) in _MARKS
    encoding, errors = ("utf-16", "replace") if marked else ("utf-8-sig", "surrogateescape")
    return place.open(encoding=encoding, errors=errors, newline=newline)


def is_text(said: str) -> bool:
    """Can it be written as UTF-8?"""
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True


def show(name: str) -> str:
    r"""The name as text: a byte that is no UTF-8 as '\xff'."""
    if is_text(name):
        return name
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode()


def demand_text(source: Source | Skipped) -> Source | Skipped:
    """The source, or why it is left out, with a name that can be written."""
    if isinstance(source, Skipped):
        return Skipped(show(source.path), show(source.reason), source.id, source.again, source.key)
    if not (is_text(source.path) and is_text(source.file)):
        return Skipped(show(source.path), NAME)
    if source.caption is not None and ("\0" in source.caption or not is_text(source.caption)):
        return Skipped(source.path, CAPTION)
    return source


def demand_name(place: Path) -> None:
    """Raises BadRequest if the name of a folder or file cannot be written down."""
    name = os.path.abspath(place) if isinstance(place, Path) else str(place)
    if not is_text(name):
        raise BadRequest(f"'{show(name)}' has letters that are no UTF-8 in its name: rename it.")
