"""Image files row by row where the format can: TIFF. Others are put together in memory, in bytes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..headless import image_files, tiff
from ..nodes.images import to_image, to_pixels
from ..vae_core import BadPixels, DoesNotFit
from ..vae_core.execution import budget as memory

READING = 40  # bytes a pixel, at most, while an image is read whole: as bytes, in [0, 1], in [-1, 1]
WRITING = 2  # times its bytes, while an image is written whole


class PixelsOf:
    """What an encoder reads of a file, from the top as often as it asks: pixels (channels, n, W) in [-1, 1]."""

    def __init__(self, file: tiff.TiffRows, channels: int):
        self.file, self.channels = file, channels
        self.shape = (channels, *file.shape[:2])

    def read(self) -> Iterator[Tensor]:
        for band in self.file.read():
            yield to_pixels(band[None], self.channels)[0]


def write(path: Path, shape: tuple[int, int, int], bands: Iterator[Tensor]) -> None:
    """bands: pixels (C, n, W) from the top, of an image of shape (C, H, W)."""
    channels, height, width = shape
    levels = (image_files.levels(to_image(band[None])[0]) for band in bands)
    if path.suffix.lower() in tiff.SUFFIXES:
        tiff.write(path, (height, width, channels), levels)
        return
    size = height * width * channels
    demand_room(path, "written", size * WRITING)
    whole = np.empty((height, width, channels), np.uint8)
    top = 0
    for band in levels:
        whole[top : top + len(band)] = band
        top += len(band)
    image_files.write_levels(path, whole)


def demand_savable(path: Path, channels: int) -> None:
    """Said before anything is computed."""
    image_files.format_of(path)
    if channels not in (1, 3, 4):
        raise BadPixels(f"'{path}' cannot be written: an image file has 1, 3 or 4 channels, these pixels {channels}.")


def demand_readable(path: Path) -> None:
    """There is memory to read it whole."""
    height, width = image_files.size_of(path)
    demand_room(path, "read", height * width * READING)


def demand_room(path: Path, done: str, size: int) -> None:
    free = memory.free(torch.device("cpu"))
    if size > free:
        raise DoesNotFit(
            f"'{path}' must be {done} as a whole, which takes {memory.format_bytes(size)}, but "
            f"{memory.format_bytes(free)} are free: use a TIFF file (uncompressed or deflate, of 8 or 16 bits), which "
            "is read and written row by row."
        )
