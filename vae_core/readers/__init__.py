"""What does an image file show? One reader for graphs, the command line and training; large TIFF files row by row.

Needs Pillow; tifffile for TIFF files; imagecodecs for what Pillow would cut to 8 bits, and for compressed TIFF files.
"""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .reading import demand_room, measure, read, read_first, read_first_with_alpha, read_with_alpha
    from .suffixes import SUFFIXES
    from .tiff import TiffRows, rows
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "reading": "demand_room measure read read_first read_first_with_alpha read_with_alpha",
            "suffixes": "SUFFIXES",
            "tiff": "TiffRows rows",
        },
    )

__all__ = [
    "SUFFIXES",
    "TiffRows",
    "demand_room",
    "measure",
    "read",
    "read_first",
    "read_first_with_alpha",
    "read_with_alpha",
    "rows",
]
