"""Several files in one go: a result for each in a folder, with the VAE loaded once. One that fails stops no other."""

import argparse
import glob
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ..vae_core import BadRequest, VAEError
from ..vae_core.files import make_folder
from .as_json import write_json


class Result(NamedTuple):
    """What a command has done: for a person, and for --json."""

    text: str
    facts: Mapping[str, Any]


class Failed(VAEError):
    """Some of several files failed; what is wrong with each has been said."""


class Pair(NamedTuple):
    """wrong: why there is nothing to work on."""

    source: Path
    target: Path
    wrong: VAEError | None = None


class Source(NamedTuple):
    """A file; or a pattern or a folder in which there is none, and what is wrong."""

    path: Path
    wrong: VAEError | None = None


def find_sources(given: Sequence[Path], suffixes: Sequence[str]) -> list[Source]:
    """The files that paths and patterns stand for; a folder stands for its files with these endings.

    Raises BadRequest if none of them has a file.
    """
    listed = partial(_list_files, suffixes=suffixes)
    paths = [source for path in given for source in _try_find(path, match)]
    found = [file for source in paths for file in ([source] if source.wrong else _try_find(source.path, listed))]
    if all(source.wrong for source in found) and found[0].wrong:
        raise found[0].wrong
    return found


def _try_find(path: Path, find: Callable[[Path], Sequence[Path]]) -> list[Source]:
    try:
        return [Source(found) for found in find(path)]
    except VAEError as wrong:
        return [Source(path, wrong)]


def match_each(paths: Sequence[Path]) -> list[Path]:
    """The files that patterns stand for; any other path, and a pattern that no file has, as it is."""
    return [source.path for path in paths for source in _try_find(path, match)]


def match(path: Path) -> list[Path]:
    """The files that a pattern stands for; any other path as it is. Raises BadRequest for a pattern that no file has.

    Windows, and quotes anywhere, leave patterns to the program.
    """
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = sorted(map(Path, glob.glob(str(path.expanduser()), recursive=True)))
    if not found:
        raise BadRequest(f"no file has a name like '{path}'.")
    return found


def _list_files(path: Path, suffixes: Sequence[str]) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes and not file.is_dir())
    except OSError as e:
        raise BadRequest(f"'{path}' cannot be read: {e.strerror or e}.") from e
    if not files:
        raise BadRequest(f"there is no file in '{path}' that ends in {', '.join(suffixes)}.")
    return files


def pair(sources: Sequence[Source], folder: Path, suffix: str) -> list[Pair]:
    """A name in the folder for the result of each source. Raises BadRequest if two would have one name."""
    pairs = [Pair(path, folder / f"{path.stem}{suffix}", wrong) for path, wrong in sources]
    taken: dict[str, Path] = {}
    for source, target, wrong in pairs:
        other = source if wrong else taken.setdefault(target.name.lower(), source)  # case may make no difference
        if other is not source:
            raise BadRequest(f"'{other}' and '{source}' would both become '{target}': give them folders of their own.")
    return pairs


def run(options: argparse.Namespace, pairs: Sequence[Pair], work: Callable[[Pair], Result]) -> None:
    """Do the work for every pair and print what it gives. Raises Failed, at the end, if there were errors."""
    folder, was_there = pairs[0].target.parent, pairs[0].target.parent.exists()
    make_folder(folder)
    results = []
    for result in _try_each(pairs, work):
        results.append(result.facts)
        if not options.json:
            print(result.text, flush=True)
    if options.json:
        print(write_json(results))
    failed = sum("error" in facts for facts in results)
    if failed == len(pairs):
        with suppress(OSError):  # it is not empty
            if not was_there:
                folder.rmdir()
        raise Failed(f"all {failed} files failed." if failed > 1 else "the only file failed.")
    if failed:
        raise Failed(f"{failed} of {len(pairs)} files failed; the others are in '{folder}'.")


def _try_each(pairs: Sequence[Pair], work: Callable[[Pair], Result]) -> Iterator[Result]:
    for one in pairs:
        try:
            if one.wrong:
                raise one.wrong
            yield work(one)
        except VAEError as error:
            print(f"exact-vae: {one.source}: {error}", file=sys.stderr)
            yield Result(f"{one.source}: failed", {"source": str(one.source), "error": str(error)})
