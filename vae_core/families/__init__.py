"""Which network is this? One file for each family, and nothing else beside what all of them share."""

from .blocks.base import ClipLaw, Config, Facts, Family, Network, Shapes
from .blocks.half import Half
from .registry import FAMILIES, build, demand_part, title

__all__ = [
    "FAMILIES",
    "ClipLaw",
    "Config",
    "Facts",
    "Family",
    "Half",
    "Network",
    "Shapes",
    "build",
    "demand_part",
    "title",
]
