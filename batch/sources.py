"""Where images lie: a folder tree, a list of paths, tar archives of WebDataset, a table.

A list is a text file with a path on each line, JSONL, or CSV. JSONL and CSV have a field 'path' (or 'file_name',
'image'), and 'caption' (or 'text') if they like. Paths are relative to the list.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ..vae_core import BadRequest, readers
from . import tables, tars
from .captions import CAPTIONS, NO_CAPTIONS, PATHS, first_of, read_source
from .clips import list_clips, stamp
from .places import demand_file, explain_reading, is_remote, list_names, place_at
from .records import Skipped, Source
from .texts import demand_name, demand_text, open_list


def list_sources(
    place: Path, captions: str, inside: Path, limit: int | None = None, clips: bool = False
) -> Iterator[Source | Skipped]:
    """All images at this place, in a fixed order.

    captions  the ending of the file with an image's caption, '.txt' or '.json'; 'none'
    inside    the folder of results, which may lie in the place and is left out
    clips     list videos and folders of frames instead of images
    A source whose name or caption is no text is skipped. Raises BadRequest if there is nothing of this kind.
    """
    demand_name(place)
    if not clips:
        return islice(map(demand_text, _choose(place)(place, captions, inside)), limit)
    listed = list_clips if place.is_dir() else _choose(place)
    if listed not in (list_clips, list_jsonl, list_csv, list_text):
        raise BadRequest(f"'{place}' is no source of clips: give a folder, or a list (.txt, .jsonl, .csv).")
    return islice(map(demand_text, map(stamp, listed(place, captions, inside))), limit)


def _choose(place: Path) -> Callable[[Path, str, Path], Iterable[Source | Skipped]]:
    with explain_reading(place):
        is_folder = place.is_dir()
    if is_folder:
        return tables.list_saved_dataset if tables.is_saved_dataset(place) else list_folder
    demand_file(place)
    readers_of = {".jsonl": list_jsonl, ".csv": list_csv, ".txt": list_text, ".parquet": tables.list_parquet}
    found = readers_of.get(place.suffix.lower(), tars.list_tar if place.suffix.lower() == ".tar" else None)
    if found is None:
        raise BadRequest(
            f"'{place}' is no source of images: give a folder, a list (.txt, .jsonl, .csv, .parquet), or a .tar."
        )
    return found


def list_folder(folder: Path, captions: str, inside: Path) -> Iterator[Source | Skipped]:
    """Images of a folder and all below it, and of the tar archives there, by their relative paths."""
    left_out = inside.absolute()
    for name in _list_names(folder, left_out):
        path = folder / name
        if path.suffix.lower() == ".tar":
            yield from tars.list_tar(path, captions, inside)
        else:
            yield read_source(path, name, captions)


def _list_names(folder: Path, left_out: Path) -> list[str]:
    """Of images and archives in a folder and below, relative to it."""
    if is_remote(folder):
        return [name for name in list_names(folder) if _is_meant(name) and left_out not in (folder / name).parents]
    return sorted(path.relative_to(folder).as_posix() for path in _walk(folder, left_out))


def _is_meant(name: str) -> bool:
    return name.lower().endswith((*readers.SUFFIXES, ".tar")) and not any(p.startswith(".") for p in name.split("/"))


def _walk(folder: Path, left_out: Path) -> Iterator[Path]:
    endings = (*readers.SUFFIXES, ".tar")

    def complain(error: OSError) -> None:
        raise BadRequest(f"'{error.filename}' cannot be read: {error.strerror or error}.") from error

    for place, folders, names in os.walk(folder, onerror=complain, followlinks=False):
        folders[:] = [one for one in folders if not one.startswith(".") and Path(place, one).absolute() != left_out]
        yield from (Path(place, name) for name in names if name.lower().endswith(endings) and not name.startswith("."))


def list_text(place: Path, captions: str, inside: Path) -> Iterator[Source | Skipped]:
    with open_list(place) as lines:
        for line in lines:
            if name := line.strip():
                yield read_source(place_at(place.parent, name), name, captions)


def list_jsonl(place: Path, captions: str, inside: Path) -> Iterator[Source | Skipped]:
    with open_list(place) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError):
                yield Skipped(f"{place.name}:{number}", "this line is no JSON")
                continue
            yield _from_fields(place, f"{place.name}:{number}", fields, captions)


def list_csv(place: Path, captions: str, inside: Path) -> Iterator[Source | Skipped]:
    with open_list(place, newline="") as lines:
        for number, fields in enumerate(_read_csv(place, lines), 2):
            line = f"{place.name}:{number}"
            if isinstance(fields, csv.Error):
                yield Skipped(line, f"this line is no CSV: {fields}")
            else:
                yield _from_fields(place, line, fields, captions)


def _read_csv(place: Path, lines: Iterable[str]) -> Iterator[dict[str, Any] | csv.Error]:
    """The fields of each line, or what is wrong with it. Raises BadRequest if that is the first, which names them."""
    rows = csv.DictReader(lines)
    try:
        rows.fieldnames  # noqa: B018
    except csv.Error as error:
        raise BadRequest(f"the first line of '{place}' is no CSV: {error}.") from error
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield error


def _from_fields(place: Path, line: str, fields: Any, captions: str) -> Source | Skipped:
    name = first_of(fields, PATHS) if isinstance(fields, dict) else None
    if name is None:
        return Skipped(line, f"this line has none of the fields {', '.join(PATHS)}")
    caption = None if captions == NO_CAPTIONS else first_of(fields, CAPTIONS)
    return read_source(place_at(place.parent, name), name, captions, caption)
