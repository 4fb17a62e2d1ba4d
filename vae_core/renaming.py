"""Rules that turn names of tensors into others."""

import re
from typing import Any

Rules = tuple[tuple[re.Pattern[str], Any], ...]


def rules(*pairs: tuple[str, Any]) -> Rules:
    """(pattern, what takes its place) each, in the order in which they are applied."""
    return tuple((re.compile(pattern), new) for pattern, new in pairs)


def renamed(name: str, by: Rules) -> str:
    """The name after every rule, each applied once at most."""
    for pattern, new in by:
        name = pattern.sub(new, name, count=1)
    return name
