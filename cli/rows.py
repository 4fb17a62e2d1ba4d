"""Reads and writes image files row by row where the format allows it (TIFF), and as a whole otherwise."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..headless import image_files, tiff
from ..nodes.images import to_image
from ..vae_core import BadPixels, DoesNotFit, readers
from ..vae_core.execution import budget as memory
from .transparency import Transparency

READING = 56  # bytes a pixel, at most, while an image is read whole: decoded, in [0, 1], in [-1, 1]
BY_ROWS = ": use a TIFF file of one image, which is read and written row by row"
DTYPES = {8: np.uint8, 16: np.uint16, 32: np.float32}  # of a TIFF file, by its bits
WRITING = 2  # times its bytes, while an image is written whole


class PixelsOf:
    """A TIFF file as the encoder reads it. `read` may be called again: the encoder may read the image several times."""

    def __init__(self, file: readers.TiffRows, channels: int, transparency: Transparency):
        self.file, self.channels, self.transparency = file, channels, transparency
        self.shape = (channels, *file.shape[:2])

    def read(self) -> Iterator[Tensor]:
        """Bands of rows from the top: pixels (channels, n, W) in [-1, 1], float32. Raises BadPixels and BadRequest."""
        for band in self.file.read():
            yield self.transparency.to_pixels(band[None], self.channels)[0]


def write(path: Path, shape: tuple[int, int, int], bands: Iterator[Tensor], bits: int) -> None:
    """Write an image file. bands: pixels (C, n, W) in [-1, 1], from the top. shape: (C, H, W) of the whole image.

    bits: of a channel, as `demand_savable` chose them. Raises DoesNotFit if the format needs the whole image in memory
    and there is too little of it, BadRequest if the file cannot be written.
    """
    channels, height, width = shape
    levels = (image_files.levels_for(path, to_image(band[None], clamp=False)[0], bits) for band in bands)
    if path.suffix.lower() in tiff.SUFFIXES:
        tiff.write(path, (height, width, channels), levels, DTYPES[bits])
        return
    demand_room(path, "written", height * width * channels * bits // 8 * WRITING)
    image_files.write_levels(path, _join(levels, height))


def _join(bands: Iterator[np.ndarray], height: int) -> np.ndarray:
    first = next(bands)
    whole = np.empty((height, *first.shape[1:]), first.dtype)
    top = 0
    for band in chain([first], bands):
        whole[top : top + len(band)] = band
        top += len(band)
    return whole


def demand_savable(path: Path, channels: int, bits: int | None = None) -> int:
    """Bits of a channel that are written; None: what is usual for the name.

    Raises, before anything is computed, BadRequest for an unknown format, and for bits that it does not have; BadPixels
    for unusual channels.
    """
    image_files.format_of(path)
    if channels not in (1, 3, 4):
        raise BadPixels(f"'{path}' cannot be written: an image file has 1, 3 or 4 channels, these pixels {channels}.")
    return image_files.choose_bits(path, bits)


def demand_readable(path: Path) -> None:
    """Raises DoesNotFit if there is too little memory to read the image as a whole, in all of its frames."""
    readers.demand_room(path, READING, BY_ROWS)


def demand_room(path: Path, done: str, size: int) -> None:
    free = memory.free(torch.device("cpu"))
    if size > free:
        raise DoesNotFit(
            f"'{path}' must be {done} as a whole, which takes {memory.format_bytes(size)}, but "
            f"{memory.format_bytes(free)} are free{BY_ROWS}."
        )
