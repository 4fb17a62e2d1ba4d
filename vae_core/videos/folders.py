"""A folder of images as the frames of a clip, in the order of the numbers in their names."""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from torch import Tensor

from .. import readers
from ..errors import BadPixels

USUAL_RATE = Fraction(24)  # frames a second, of what does not say
_NUMBER = re.compile(r"(\d+)")


class ImageFrames:
    """The images in a folder, one frame each. Subfolders and other files are left alone.

    Raises BadPixels if there are none, or if they differ in size.
    """

    rate, has_sound = USUAL_RATE, False

    def __init__(self, folder: Path, to_pixels: Callable[[Tensor], Tensor]):
        self.path, self._to_pixels = folder, to_pixels
        found = [path for path in folder.iterdir() if path.suffix.lower() in readers.SUFFIXES and path.is_file()]
        self.files = sorted(found, key=_sort_by_number)
        if not found:
            raise BadPixels(f"'{folder}' holds no images: {', '.join(readers.SUFFIXES[:6])} ...")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W)"""
        return self._shape

    @cached_property
    def _shape(self) -> tuple[int, int, int, int]:
        _, c, h, w = self._to_pixels(readers.read_first_with_alpha(self.files[0])).shape
        return c, len(self.files), h, w

    def read(self) -> Iterator[Tensor]:
        """All frames in order: (C, 1, H, W) in [-1, 1], float32."""
        for path in self.files:
            frame = self._to_pixels(readers.read_first_with_alpha(path))
            _demand_size(frame, self.shape, f"'{path}'", f"'{self.files[0].name}'")
            yield frame.transpose(0, 1)


class PagesOfFile:
    """The images in one file, one frame each: pages of a TIFF file, frames of a GIF. One is in memory at a time.

    Raises BadPixels if it cannot be read, or if they differ in size.
    """

    rate, has_sound = USUAL_RATE, False

    def __init__(self, path: Path, to_pixels: Callable[[Tensor], Tensor]):
        self.path, self._to_pixels = path, to_pixels
        self._count = readers.count_frames(path)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W)"""
        return self._shape

    @cached_property
    def _shape(self) -> tuple[int, int, int, int]:
        _, c, h, w = self._to_pixels(readers.read_first_with_alpha(self.path)).shape
        return c, self._count, h, w

    def read(self) -> Iterator[Tensor]:
        """All frames in order: (C, 1, H, W) in [-1, 1], float32."""
        for number, image in enumerate(readers.read_each(self.path), 1):
            frame = self._to_pixels(image)
            _demand_size(frame, self.shape, f"image {number} of '{self.path}'", "the first")
            yield frame.transpose(0, 1)


def _demand_size(frame: Tensor, shape: tuple[int, ...], this: str, first: str) -> None:
    (h, w), (high, wide) = frame.shape[-2:], shape[-2:]
    if (h, w) != (high, wide):
        raise BadPixels(f"{this} is {w}x{h}, but {first} is {wide}x{high}: all frames of a clip have one size.")


def _sort_by_number(path: Path) -> list[tuple[int, str]]:
    """frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _NUMBER.split(path.name.lower())]
