"""Which network is this? One file for each family, and nothing else beside what all of them share."""

from .blocks.base import Config, Facts, Family, Network
from .registry import FAMILIES, build, demand_part, selectable_spaces, title
from .shapes import Shapes
from .unsupported import FOREIGN

__all__ = [
    "FAMILIES",
    "FOREIGN",
    "Config",
    "Facts",
    "Family",
    "Network",
    "Shapes",
    "build",
    "demand_part",
    "selectable_spaces",
    "title",
]
