"""Writes TIFF files row by row or page by page, so they may be larger than memory. (`vae_core.readers` reads them.)"""

import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC, PLANARCONFIG

from ..vae_core.errors import BadRequest
from ..vae_core.execution import format_bytes
from ..vae_core.files import write_atomically

SUFFIXES = (".tif", ".tiff")
STRIP = 2**18  # bytes, about; what is written has strips of so many
CLASSIC = 2**32 - 2**20  # bytes, less room for tags: what offsets of 32 bits reach; beyond it is BigTIFF


def write(path: Path, shape: tuple[int, ...], bands: Iterator[np.ndarray], dtype: np.dtype | type = np.uint8) -> None:
    """Write bands (n, W, C) of this dtype from the top, C 1, 3 or 4, as uncompressed strips.

    shape: (H, W, C) of all of them. Raises BadRequest if it cannot be written.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    with write_atomically(path) as part:
        _demand_disk(path, size)
        with tifffile.TiffWriter(part, bigtiff=size > CLASSIC) as file:
            _put(file, shape, (band.tobytes() for band in bands), dtype)


class Stack:
    """A TIFF file of many pages, one image each, that gets its name when it is complete; after an error there is none.

    most: bytes that it may have, which decides whether it is a BigTIFF
    """

    def __init__(self, path: Path, most: int):
        self.path, self.most = path, most
        self.pages, self._exits = 0, ExitStack()

    def __enter__(self) -> "Stack":
        with ExitStack() as exits:
            part = exits.enter_context(write_atomically(self.path))
            self._file = exits.enter_context(tifffile.TiffWriter(part, bigtiff=self.most > CLASSIC))
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._exits.__exit__(*error)

    def add(self, image: np.ndarray) -> None:
        """Write the next page, (H, W, C). Raises BadRequest if the disk is too small for it."""
        _demand_disk(self.path, image.nbytes)
        _put(self._file, image.shape, iter([image.tobytes()]), image.dtype)
        self.pages += 1


def _put(file: tifffile.TiffWriter, shape: tuple[int, ...], data: Iterator[bytes], dtype: np.dtype | type) -> None:
    height, width, channels = shape
    file.write(
        data,
        shape=shape if channels > 1 else (height, width),
        dtype=dtype,
        photometric=PHOTOMETRIC.RGB if channels > 1 else PHOTOMETRIC.MINISBLACK,
        planarconfig=PLANARCONFIG.CONTIG if channels > 1 else None,
        rowsperstrip=max(1, STRIP // (width * channels * np.dtype(dtype).itemsize)),
        software="exact-vae",
        metadata=None,
        contiguous=False,
    )


def _demand_disk(path: Path, size: int) -> None:
    if (free := shutil.disk_usage(path.parent).free) < size:
        raise BadRequest(
            f"'{path}' cannot be written: it needs {format_bytes(size)}, and {format_bytes(free)} are free there."
        )
