"""The text that belongs to an image, and images that are files of their own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..vae_core.files import parse_json
from .limits import LONGEST_CAPTION
from .mishaps import may_pass
from .places import read_stamp
from .records import Skipped, Source
from .texts import decode_caption

NO_CAPTIONS = "none"
PATHS = ("path", "file_name", "image", "image_path")
CAPTIONS = ("caption", "text", "prompt")
BROKEN = f"its caption is no JSON of at most {LONGEST_CAPTION // 2**10} KiB: mend it, or take it away"


def read_source(path: Path, name: str, captions: str, caption: str | None = None) -> Source | Skipped:
    """The source of a file of its own. caption: if it is known already."""
    try:
        stamp = read_stamp(path)
    except (OSError, ValueError) as error:
        return Skipped(name, f"it cannot be opened: {getattr(error, 'strerror', None) or error}", again=may_pass(error))
    try:
        said = caption if caption is not None or captions == NO_CAPTIONS else read_caption(path.with_suffix(captions))
    except OSError as error:
        return Skipped(name, f"its caption cannot be read: {error.strerror or error}", again=may_pass(error))
    except ValueError:
        return Skipped(name, BROKEN)
    return Source(name, str(path.absolute()), stamp, None, said)


def read_caption(path: Path) -> str | None:
    """The text beside an image; None if there is none. Raises OSError, and ValueError as `parse_caption` does."""
    try:
        with path.open("rb") as file:
            text = decode_caption(file.read(LONGEST_CAPTION))
    except (FileNotFoundError, IsADirectoryError):
        return None
    return parse_caption(text, path.suffix)


def parse_caption(text: str, suffix: str) -> str | None:
    """The caption of such a file: all of it, or what a JSON object has under one of CAPTIONS.

    Raises ValueError for what is no JSON.
    """
    if suffix.lower() != ".json":
        return text.strip()
    found = parse_json(text)
    return first_of(found, CAPTIONS) if isinstance(found, dict) else None


def first_of(fields: dict[str, Any], names: Iterable[str]) -> str | None:
    return next((str(fields[name]) for name in names if fields.get(name) not in (None, "")), None)
