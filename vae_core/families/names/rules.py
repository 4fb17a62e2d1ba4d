"""Rules that turn names of tensors into others, one way or both."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

Rules = tuple[tuple[re.Pattern[str], Any], ...]


def rules(*pairs: tuple[str, Any]) -> Rules:
    """(pattern, what takes its place) each, in the order in which they are applied."""
    return tuple((re.compile(pattern), new) for pattern, new in pairs)


def renamed(name: str, by: Rules) -> str:
    """The name after every rule, each applied once at most."""
    for pattern, new in by:
        name = pattern.sub(new, name, count=1)
    return name


class BothWays(NamedTuple):
    """Rules to reference names and, the other way round, back to a file's."""

    reading: Rules
    writing: Rules

    def read(self, name: str) -> str:
        return renamed(name, self.reading)

    def write(self, name: str) -> str:
        return renamed(name, self.writing)


def both_ways(*pairs: tuple[str, str]) -> BothWays:
    """(what a file says, what the reference says) each, in the order in which they are applied to read.

    A # stands for a number, the same on both sides; a ^ before both for the beginning of the name.
    """
    return BothWays(
        rules(*((_pattern(file), _filled(reference)) for file, reference in pairs)),
        rules(*((_pattern(reference), _filled(file)) for file, reference in reversed(pairs))),
    )


def moved(name: str, what: re.Pattern[str], places: Mapping[str, str]) -> str:
    """The name with what the pattern finds in it taken to its place, if it has one."""
    return what.sub(lambda match: places.get(match[0], match[0]), name, count=1)


def _pattern(template: str) -> str:
    start = "^" * template.startswith("^")
    return start + r"(\d+)".join(map(re.escape, template.removeprefix("^").split("#")))


def _filled(template: str) -> str:
    first, *rest = template.removeprefix("^").split("#")
    return first + "".join(f"\\{i}{part}" for i, part in enumerate(rest, 1))
