"""What a whole folder of weights holds, file by file, from the headers alone: a table, and what would not load."""

import os
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoints.detection import Inspection, demand_whole, inspect, to_json
from ..checkpoints.loading import own_dtype
from ..checkpoints.places import SHARD, SUBFOLDERS, WEIGHTS, holds_usual
from ..errors import VAEError, shorten
from ..files.reading import pause_collection

LONGEST = 60  # letters of a column
HEAD = ("file", "what it is", "latent", "stored as", "MiB")


class Surveyed(NamedTuple):
    """One file, or one folder of a model. problem: why it would not load; '' if it would."""

    path: Path
    found: Inspection | None
    problem: str = ""


def survey_files(paths: Iterable[str | Path]) -> list[Surveyed]:
    """Each file of weights that the paths stand for, inspected. Nothing is raised for what is no VAE.

    paths: files, folders of a model, folders of files at any depth, and patterns as 'models/*.safetensors'
    """
    listed = [path for given in paths for path in list_weights(given)]
    with pause_collection():
        return [_look(path) for path in listed if not (_is_later_part(path) and _first_part(path) in listed)]


def list_weights(path: str | Path) -> list[Path]:
    """The files and folders of models that a path stands for, in order; the path itself if it is no folder of them."""
    if has_magic(str(path)) and not os.path.exists(path):
        return [Path(one) for one in sorted(glob(str(path), recursive=True))]
    folder = Path(path)
    return list(_walk(folder)) if folder.is_dir() and not _is_model(folder) else [folder]


def _is_model(folder: Path) -> bool:
    """Is it the folder of a model of diffusers, in which one VAE is?"""
    return any(holds_usual(folder / name) for name in SUBFOLDERS)


def _walk(folder: Path, seen: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """seen: the folders around it, into which a link may lead back. A folder that cannot be read is given itself."""
    seen |= {folder.resolve()}
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        entries = []
        yield folder
    for entry in entries:
        if entry.is_dir():
            inside = _walk(entry, seen) if entry.resolve() not in seen else ()
            yield from [entry] if _is_model(entry) else inside
        elif entry.suffix.lower() in WEIGHTS and not _is_later_part(entry):
            yield entry


def _is_later_part(file: Path) -> bool:
    shard = SHARD.fullmatch(file.name)
    return bool(shard) and int(shard["number"]) > 1


def _first_part(file: Path) -> Path:
    shard = SHARD.fullmatch(file.name)
    return file.with_name(f"{shard['stem']}-00001-of-{shard['all']}{shard['ending']}") if shard else file


def _look(path: Path) -> Surveyed:
    found = None
    try:
        found = inspect(path)
        demand_whole(found, path)
        own_dtype(found.dtypes, path.name)
    except VAEError as e:
        return Surveyed(path, found, str(e))
    return Surveyed(path, found)


def survey_to_json(rows: Iterable[Surveyed]) -> list[dict[str, Any]]:
    """Plain JSON values: all of an inspection, or the path; and the problem if there is one."""
    return [_to_json(row) for row in rows]


def _to_json(row: Surveyed) -> dict[str, Any]:
    facts = to_json(row.found) if row.found else {"path": str(row.path)}
    return {**facts, "problem": row.problem} if row.problem else facts


def format_survey(rows: list[Surveyed], counted: list[Surveyed] | None = None) -> str:
    """A table for people: a line for each file, and how many would load: of these, or of those that are `counted`."""
    lines = [HEAD, *_list_lines(rows)]
    widths = [max((len(line[i]) for line in lines if i < len(line) - 1), default=0) for i in range(len(HEAD))]
    table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([*table, "", _count_fine(rows if counted is None else counted)])


def list_survey(rows: list[Surveyed]) -> str:
    """The same where letters are not of one width: a sentence for each file."""
    return "\n".join([_count_fine(rows), *(_say(*cells) for cells in _list_lines(rows))])


def _say(name: str, what: str, latent: str = "", stored: str = "", size: str = "") -> str:
    return f"{name}: {what}, {stored}, {size} MiB" if latent else f"{name}: {what}"


def _count_fine(rows: list[Surveyed]) -> str:
    return f"{sum(not row.problem for row in rows)} of {len(rows)} would load."


def _list_lines(rows: list[Surveyed]) -> list[tuple[str, ...]]:
    shared = os.path.commonpath([row.path.parent for row in rows]) if rows else ""
    return [_list_cells(row, shared) for row in rows]


def _list_cells(row: Surveyed, shared: str) -> tuple[str, ...]:
    """Of a file that would not load there is a sentence instead, which may be long."""
    name = os.path.relpath(row.path, shared or ".")
    name = shorten(name if len(name) <= LONGEST else f"...{name[3 - LONGEST :]}")  # its end tells it apart
    if row.problem or row.found is None:
        missing = row.problem == f"there is no file '{row.path}'."
        problem = "there is no such file." if missing else row.problem.replace(f"'{row.path}'", "it")
        return name, shorten(problem.removeprefix("it: "))
    found = row.found
    title = found.title if len(found.title) <= LONGEST else f"{found.title[: LONGEST - 3]}..."
    frames = f", 1 frame to {found.temporal_ratio}" if found.temporal_ratio else ""
    latent = f"{found.latent_channels} at 1/{found.spatial_ratio}{frames}"
    return name, title, latent, ", ".join(found.dtypes), f"{found.bytes / 2**20:.0f}"
