"""Tables of images: Parquet files, and folders of Hugging Face `datasets`. They need pyarrow.

A cell holds the bytes of an image file, alone or as {'bytes', 'path'}, or a path to one.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from ..vae_core import BadRequest
from .captions import CAPTIONS, NO_CAPTIONS, first_of, read_source
from .places import is_remote, parse_place, place_at, read_stamp
from .records import Skipped, Source

TABLES = (".parquet", ".arrow")
IMAGES = ("image", "jpg", "png", "img", "bytes", "path", "file_name", "image_path")
Row = dict[str, Any] | None
ROWS = 64  # of a table that are read at once


def is_table(file: str) -> bool:
    return file.lower().endswith(TABLES)


def is_saved_dataset(folder: Path) -> bool:
    """Is it what `Dataset.save_to_disk` writes?"""
    return (folder / "dataset_info.json").is_file() and any(folder.glob("*.arrow"))


def _load_pyarrow(part: str = "") -> Any:
    try:
        return import_module(f"pyarrow{part}")
    except ModuleNotFoundError as error:
        raise BadRequest("tables of images need pyarrow: pip install pyarrow, or give a list as .jsonl.") from error


def list_saved_dataset(folder: Path, captions: str, inside: Path) -> Iterator[Source | Skipped]:
    for path in sorted(folder.glob("*.arrow")):
        yield from _list_table(path, captions)


def list_parquet(place: Path, captions: str, inside: Path) -> Iterator[Source | Skipped]:
    yield from _list_table(place, captions)


def _list_table(place: Path, captions: str) -> Iterator[Source | Skipped]:
    """The images of a table, by number of group (what is read at once) and of the row in it."""
    stamp = read_stamp(place)
    for group, rows in _groups(place, _columns(place)):
        for number, fields in enumerate(rows):
            name = f"{place.name}/{group:05}-{number:05}"
            if fields is None:
                yield Skipped(name, "this row has text that is no UTF-8: write it anew")
                continue
            cell, caption = _cell(fields), None if captions == NO_CAPTIONS else first_of(fields, CAPTIONS)
            if isinstance(cell, str):
                yield read_source(place_at(place.parent, cell), cell, captions, caption)
            elif cell is None:
                yield Skipped(name, "this row holds no image")
            else:
                yield Source(name, str(place.absolute()), stamp, (group, number), caption)


def _cell(fields: dict[str, Any]) -> bytes | str | None:
    """The image in a row: the bytes of a file, or the path to one."""
    found = next((fields[name] for name in IMAGES if fields.get(name)), None)
    if isinstance(found, dict):
        found = found.get("bytes") or found.get("path")
    return found if isinstance(found, (bytes, str)) else None


def _columns(place: Path) -> list[str]:
    names = _open(place)[1]
    found = [name for name in names if name in (*IMAGES, *CAPTIONS)]
    if not set(found) & {*IMAGES}:
        raise BadRequest(f"'{place}' has no column of images: one of {', '.join(IMAGES)} is needed.")
    return found


def _open(place: Path) -> tuple[Any, list[str]]:
    """(the file, the names of its columns)"""
    try:
        if place.suffix.lower() == ".parquet":
            file = _load_pyarrow(".parquet").ParquetFile(place.open("rb") if is_remote(place) else place)
            return file, file.schema_arrow.names
        content = place.open("rb") if is_remote(place) else _load_pyarrow().memory_map(str(place))
        file = _load_pyarrow(".ipc").open_stream(content)
        return file, file.schema.names
    except (ValueError, OSError) as error:
        raise BadRequest(f"'{place}' cannot be read as a table: {str(error)[:200]}.") from error


def _groups(place: Path, columns: list[str], only: int | None = None) -> Iterator[tuple[int, list[Row]]]:
    """(number, rows) of the pieces in which a table is read."""
    file, _ = _open(place)
    if place.suffix.lower() == ".parquet":
        pieces = file.iter_batches(batch_size=ROWS, columns=columns)
    else:
        pieces = (piece.select(columns) for piece in file)
    for number, piece in enumerate(pieces):
        if only in (None, number):
            yield number, _to_rows(piece)
        if number == only:
            return


def _to_rows(piece: Any) -> list[Row]:
    """Rows by the names of their columns; None for one with text that is no UTF-8, as no writer should have put in."""
    try:
        return piece.to_pylist()
    except UnicodeDecodeError:
        return [_to_rows(piece.slice(i, 1))[0] for i in range(len(piece))] if len(piece) > 1 else [None]


def read_cell(file: str, part: tuple[int, int]) -> bytes:
    """The bytes of the image in (group, row) of a table. Raises OSError if it is no longer there."""
    place = parse_place(file)
    for _, rows in _groups(place, _columns(place), part[0]):
        if part[1] < len(rows) and isinstance(cell := _cell(rows[part[1]] or {}), bytes):
            return cell
    raise OSError(f"row {part} is no longer in '{place.name}'")
