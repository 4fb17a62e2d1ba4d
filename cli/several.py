"""Several files in one go: a result for each in a folder, with the VAE loaded once. One that fails stops no other."""

import argparse
import glob
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..vae_core import BadRequest, VAEError
from ..vae_core.files import make_folder


class Result(NamedTuple):
    """What a command has done: for a person, and for --json."""

    text: str
    facts: Mapping[str, Any]


class Failed(VAEError):
    """Some of several files failed; what is wrong with each has been said."""


class Pair(NamedTuple):
    source: Path
    target: Path


def find_sources(given: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
    """The files that paths and patterns stand for; a folder stands for its files with these endings.

    Raises BadRequest for a pattern or a folder without files.
    """
    return [file for path in _match(given) for file in _list_files(path, suffixes)]


def match_one(path: Path) -> Path:
    """The only file that a pattern stands for; any other path as it is."""
    matched = _match([path])
    return matched[0] if len(matched) == 1 else path


def _match(given: Sequence[Path]) -> list[Path]:
    """Windows, and quotes anywhere, leave patterns to the program."""
    paths = []
    for path in given:
        is_pattern = not path.exists() and glob.has_magic(str(path))
        found = sorted(map(Path, glob.glob(str(path.expanduser()), recursive=True))) if is_pattern else [path]
        if not found:
            raise BadRequest(f"no file has a name like '{path}'.")
        paths += found
    return paths


def _list_files(path: Path, suffixes: Sequence[str]) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes and not file.is_dir())
    if not files:
        raise BadRequest(f"there is no file in '{path}' that ends in {', '.join(suffixes)}.")
    return files


def pair(sources: Sequence[Path], folder: Path, suffix: str) -> list[Pair]:
    """A name in the folder for the result of each source. Raises BadRequest if two would have one name."""
    pairs = [Pair(source, folder / f"{source.stem}{suffix}") for source in sources]
    taken: dict[str, Path] = {}
    for source, target in pairs:
        other = taken.setdefault(target.name.lower(), source)  # where case makes no difference, they are one file
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
        print(json.dumps(results, indent=2))
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
            yield work(one)
        except VAEError as error:
            print(f"exact-vae: {one.source}: {error}", file=sys.stderr)
            yield Result(f"{one.source}: failed", {"source": str(one.source), "error": str(error)})
