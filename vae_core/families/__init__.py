"""Which network is this? One file for each family, and nothing else beside what all of them share."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .blocks.base import BORDERS, ZEROS, ClipLaw, Config, Facts, Family, Network
    from .blocks.half import Half
    from .names import LAYOUTS, ORIGINAL
    from .registry import FAMILIES, build, demand_part, demand_size_of, family_named, title
    from .shapes import Shapes
    from .unsupported import FOREIGN
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "blocks.base": "BORDERS ZEROS ClipLaw Config Facts Family Network",
            "blocks.half": "Half",
            "names": "LAYOUTS ORIGINAL",
            "registry": "FAMILIES build demand_part demand_size_of family_named title",
            "shapes": "Shapes",
            "unsupported": "FOREIGN",
        },
    )

__all__ = [
    "BORDERS",
    "FAMILIES",
    "FOREIGN",
    "LAYOUTS",
    "ORIGINAL",
    "ZEROS",
    "ClipLaw",
    "Config",
    "Facts",
    "Family",
    "Half",
    "Network",
    "Shapes",
    "build",
    "demand_part",
    "demand_size_of",
    "family_named",
    "title",
]
