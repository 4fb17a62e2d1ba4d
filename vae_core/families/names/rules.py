"""Rules that turn names of tensors into others, one way or both. Patterns are compiled when they are first used."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

Rules = tuple[tuple[str, Any], ...]  # (regular expression, what takes the place of a match)


def rename(name: str, by: Rules) -> str:
    """The name after every rule, each applied once at most."""
    for pattern, new in by:
        name = re.sub(pattern, new, name, count=1)
    return name


class BothWays(NamedTuple):
    """Pairs (what a file says, what the reference says), in the order in which they are applied to read.

    A # stands for a number, the same on both sides; a ^ before both for the beginning of the name.
    """

    pairs: tuple[tuple[str, str], ...]

    def read(self, name: str) -> str:
        for file, reference in self.pairs:
            name = _replace(name, file, reference)
        return name

    def write(self, name: str) -> str:
        for file, reference in reversed(self.pairs):
            name = _replace(name, reference, file)
        return name


def both_ways(*pairs: tuple[str, str]) -> BothWays:
    return BothWays(pairs)


def move(name: str, what: str, places: Mapping[str, str]) -> str:
    """The name with the first match of the pattern `what` taken to its place, if it has one."""
    return re.sub(what, lambda match: places.get(match[0], match[0]), name, count=1)


def _replace(name: str, old: str, new: str) -> str:
    """One pair in one direction. Most have no number, and need no regular expression."""
    start, sign, _ = old.removeprefix("^").partition("#")
    if start not in name:
        return name
    if sign:
        replace, template = _numbered(old, new)
        return replace(template, name, count=1)
    if old.startswith("^"):
        return new.removeprefix("^") + name[len(start) :] if name.startswith(start) else name
    return name.replace(old, new, 1)


@cache
def _numbered(old: str, new: str) -> tuple[Callable[..., str], str]:
    pattern = "^" * old.startswith("^") + r"(\d+)".join(map(re.escape, old.removeprefix("^").split("#")))
    first, *rest = new.removeprefix("^").split("#")
    return re.compile(pattern).sub, first + "".join(f"\\{i}{part}" for i, part in enumerate(rest, 1))
