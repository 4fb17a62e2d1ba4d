"""Which network is this? One file for each family, and nothing else beside what all of them share."""

from .blocks.base import ClipLaw, Config, Facts, Family, Network
from .blocks.half import Half
from .registry import FAMILIES, build, demand_part, selectable_spaces, title
from .shapes import Shapes
from .unsupported import FOREIGN

__all__ = [
    "FAMILIES",
    "FOREIGN",
    "ClipLaw",
    "Config",
    "Facts",
    "Family",
    "Half",
    "Network",
    "Shapes",
    "build",
    "demand_part",
    "selectable_spaces",
    "title",
]
