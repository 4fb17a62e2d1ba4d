"""What does an image file show? One reader for graphs, the command line and training; large TIFF files row by row.

Needs Pillow; tifffile for TIFF files; imagecodecs for what Pillow would cut to 8 bits, and for compressed TIFF files;
OpenEXR for its own files.
"""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .reading import (
        count_frames,
        demand_room,
        measure,
        read,
        read_each,
        read_first,
        read_first_with_alpha,
        read_with_alpha,
        stored_as,
    )
    from .suffixes import SUFFIXES
    from .tiff import TiffRows, rows
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "reading": "count_frames demand_room measure read read_each read_first read_first_with_alpha"
            " read_with_alpha stored_as",
            "suffixes": "SUFFIXES",
            "tiff": "TiffRows rows",
        },
    )

__all__ = [
    "SUFFIXES",
    "TiffRows",
    "count_frames",
    "demand_room",
    "measure",
    "read",
    "read_each",
    "read_first",
    "read_first_with_alpha",
    "read_with_alpha",
    "rows",
    "stored_as",
]
