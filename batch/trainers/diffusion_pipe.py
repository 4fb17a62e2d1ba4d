"""The shards of tdrussell/diffusion-pipe: pickled items one after the other, and a metadata.db that says where.

`cache/<model>/cache_<aspect>x<width>x<height>x<frames>/latents/` holds metadata.db (SQLite) and shard_<n>.bin
(8f83dbf, utils/cache.py, utils/dataset.py). An item has 'latents' (C, h, w) or (C, T, h, w) and 'image_spec', the
archive, or None, and the path.
"""

import io
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from torch import Tensor

from ...vae_core.errors import VAEError, say_why
from ..formats import CONVENTIONS, DIFFUSION_PIPE
from ..records import Size
from .kept import LARGEST, MOST_SHARDS, Kept, Unread
from .pickled import load

NAME = "metadata.db"
_BUCKET = re.compile(r"cache_(?:[\d.]+x)?(\d+)x(\d+)x(\d+)")


def read(path: Path) -> Iterator[Kept | Unread]:
    """The latents that a metadata.db names; nothing if they are of texts, or if it is another program's database."""
    try:
        places = list_places(path)
    except (sqlite3.Error, OSError, ValueError, TypeError) as error:
        yield Unread(str(path), f"it cannot be read: {str(error)[:200]}")
        return
    for shard, index, offset, size in places:
        file = path.parent / f"shard_{shard}.bin"
        where = f"{file}: {index}"
        try:
            item = load(io.BytesIO(_read_bytes(file, offset, size)), where)
        except (VAEError, OSError) as error:
            yield Unread(where, say_why(error) if isinstance(error, OSError) else str(error))
            continue
        if isinstance(item, dict) and isinstance(item.get("latents"), Tensor):
            yield _make(path, where, item)


def list_places(path: Path) -> list[tuple[int, int, int, int]]:
    """(shard, item in it, first byte, bytes) of each item. Nothing is written, not even a journal."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as base:
        tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"fingerprint", "items"} <= tables:
            return []
        items = base.execute("SELECT shard, shard_index FROM items").fetchmany(MOST_SHARDS)
        shards = sorted({int(shard) for shard, _ in items})
        places = {one: base.execute(f"SELECT offset, size FROM shard_{one}").fetchmany(MOST_SHARDS) for one in shards}
    found = []
    for shard, index in items:
        if int(index) < len(places[int(shard)]):
            offset, size = places[int(shard)][int(index)]
            found.append((int(shard), int(index), int(offset), int(size)))
    return found


def _read_bytes(file: Path, offset: int, size: int) -> bytes:
    if not 0 <= size <= LARGEST or offset < 0:
        raise OSError("metadata.db claims more bytes than an item has")
    with file.open("rb") as opened:
        opened.seek(offset)
        found = opened.read(size)
    if len(found) < size:
        raise OSError("the shard is cut short")
    return found


def _make(path: Path, where: str, item: dict[str, Any]) -> Kept:
    archive, name = _read_spec(item.get("image_spec"))
    return Kept(
        where=where,
        trainer=DIFFUSION_PIPE,
        latent=item["latents"],
        convention=CONVENTIONS[DIFFUSION_PIPE],
        made=path.stat().st_mtime_ns,
        image=Path(name) if name and not archive else None,
        stem=Path(name).stem if name and not archive else "",
        bucket=find_bucket(path),
    )


def _read_spec(spec: Any) -> tuple[str | None, str | None]:
    """(the archive, the path) of an image."""
    if isinstance(spec, (list, tuple)) and len(spec) == 2:
        archive, name = spec
        return (str(archive) if archive else None), (str(name) if name else None)
    return None, None


def find_bucket(path: Path) -> Size | None:
    """(width, height) of the bucket, as a folder above is named."""
    found = next((_BUCKET.fullmatch(one.name) for one in path.parents if _BUCKET.fullmatch(one.name)), None)
    return (int(found[1]), int(found[2])) if found else None
