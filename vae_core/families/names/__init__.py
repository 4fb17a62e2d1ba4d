"""How files name the tensors of each family: layouts, read in both directions."""

from .layout import DIFFUSERS, LAYOUTS, ORIGINAL, Layout, begins, half, keep_names
from .reading import PREFIXES, Reading, Readings, find_prefixes, is_leftover, strip

__all__ = [
    "DIFFUSERS",
    "LAYOUTS",
    "ORIGINAL",
    "PREFIXES",
    "Layout",
    "Reading",
    "Readings",
    "begins",
    "find_prefixes",
    "half",
    "is_leftover",
    "keep_names",
    "strip",
]
