"""The workflows that images, videos, sounds and latents carry: {"prompt": JSON, "workflow": JSON}, as texts."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open

from ..vae_core.files import LARGEST_JSON, demand_file
from .deep_files import PNG_START, PRIVATE

NAMES = ("prompt", "workflow")
COMMENT = "comment"  # where a pack that writes videos keeps both, in one JSON object
_STARTS = (b"{", b"[")  # of JSON
_BOM, _SEEN = b"\xef\xbb\xbf", 64  # bytes of a file that are looked at


def holds_json(path: Path) -> bool:
    """Does this file begin as JSON does? Raises BadRequest if it is no file."""
    with demand_file(path).open("rb") as file:
        start = file.read(_SEEN).removeprefix(_BOM).lstrip()
    return start.startswith(_STARTS) or path.suffix.lower() == ".json"


def read_embedded(path: Path) -> dict[str, str]:
    """The texts of a file by their names; none if it carries none, or is of no kind that could."""
    for read in (_read_image, _read_safetensors, _read_media):
        if found := _pick(read(path)):
            return found
    return {}


def _pick(texts: Mapping[str, Any]) -> dict[str, str]:
    plain = {name.lower(): text for name, text in texts.items() if isinstance(text, str) and len(text) <= LARGEST_JSON}
    both = _read_comment(plain.get(COMMENT, ""))
    return {name: text for name in NAMES if (text := plain.get(name) or both.get(name))}


def _read_comment(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    named = found.items() if isinstance(found, dict) else ()
    return {name: one if isinstance(one, str) else json.dumps(one) for name, one in named if name in NAMES}


def _read_image(path: Path) -> dict[str, Any]:
    try:
        with Image.open(path) as image:
            return {**_list_exif(image.getexif().values()), **_read_private(path), **image.info}
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return {}


def _read_private(path: Path) -> dict[str, str]:
    """Of a PNG that moves: the host keeps its texts behind the pixels, in chunks of its own that Pillow skips."""
    found: dict[str, str] = {}
    with path.open("rb") as file:
        if file.read(len(PNG_START)) != PNG_START:
            return found
        while len(head := file.read(8)) == 8:
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind == PRIVATE and size <= LARGEST_JSON:
                name, _, text = file.read(size).partition(b"\0")
                found[name.decode("latin-1")] = text.decode("latin-1")
                size = 0
            file.seek(size + 4, os.SEEK_CUR)  # and its checksum
    return found


def _list_exif(values: Iterable[Any]) -> dict[str, str]:
    """WebP and others have no texts by names: the host writes `prompt:{...}` into tags of EXIF."""
    pairs = (str(value).partition(":") for value in values if isinstance(value, str))
    return {name: text for name, _, text in pairs if name in NAMES}


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def _read_media(path: Path) -> dict[str, Any]:
    import av  # which takes a fifth of a second, and few files need

    try:
        with av.open(str(path)) as container:
            return dict(container.metadata)
    except (av.FFmpegError, OSError, ValueError):
        return {}
