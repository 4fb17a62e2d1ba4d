"""Writes TIFF files row by row, so that an image may be larger than memory. (`vae_core.readers` reads them.)"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC, PLANARCONFIG

from ..vae_core.errors import BadRequest
from ..vae_core.execution import format_bytes
from ..vae_core.files import write_atomically

SUFFIXES = (".tif", ".tiff")
STRIP = 2**18  # bytes, about; what is written has strips of so many
CLASSIC = 2**32 - 2**20  # bytes, less room for tags: what offsets of 32 bits reach; beyond it is BigTIFF


def write(path: Path, shape: tuple[int, int, int], bands: Iterator[np.ndarray]) -> None:
    """Write bands (n, W, C) of bytes from the top, C 1, 3 or 4, as uncompressed strips.

    shape: (H, W, C) of all of them. Raises BadRequest if it cannot be written.
    """
    row = shape[1] * shape[2]
    size = shape[0] * row
    with write_atomically(path) as part:
        if (free := shutil.disk_usage(path.parent).free) < size:
            raise BadRequest(
                f"'{path}' cannot be written: it needs {format_bytes(size)}, and {format_bytes(free)} are free there."
            )
        with tifffile.TiffWriter(part, bigtiff=size > CLASSIC) as file:
            file.write(
                (band.tobytes() for band in bands),
                shape=shape if shape[2] > 1 else shape[:2],
                dtype=np.uint8,
                photometric=PHOTOMETRIC.RGB if shape[2] > 1 else PHOTOMETRIC.MINISBLACK,
                planarconfig=PLANARCONFIG.CONTIG if shape[2] > 1 else None,
                rowsperstrip=max(1, STRIP // row),
                software="exact-vae",
                metadata=None,
            )
