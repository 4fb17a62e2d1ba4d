"""What Pillow reads: images of 8 bits, still or moving. What it would cut to 8 bits, `deep` reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageOps, ImageSequence
from torch import Tensor

from ..images.pillow import choose_mode
from .guards import MOST_FRAMES
from .source import NotRead, demand_finite, scale, turned_size

# Only these of Pillow's formats: others start programs (EPS), are fonts or data, or hold more than Pillow reads.
FORMATS = ("AVIF", "BMP", "DDS", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "PSD", "QOI",
           "SGI", "TGA", "WEBP", "XBM", "XPM")  # fmt: skip
WHITE = 255
ORIENTATION = 274  # EXIF's tag
OPENING = Lock()  # while Pillow's own limit is lifted


@contextmanager
def open_pillow(path: Path, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """The file, opened by Pillow; of any size, for room is asked for by whoever reads it."""
    with _any_size():
        Image.init()
        file = Image.open(path, formats=[name for name in formats if name in Image.OPEN])
    with file:
        yield file


@contextmanager
def _any_size() -> Iterator[None]:
    # Pillow's limit protects servers from strangers' files. These are the user's own, and may well be very large.
    with OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


class PillowImages:
    """The frames of a file that Pillow opened."""

    def __init__(self, file: Image.Image):
        _demand_whole_depth(file)
        self.file = file
        # The further images in a camera's MPO are previews or the other eye, not frames.
        self.frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
        if self.frames > MOST_FRAMES:
            raise NotRead(f"it has {self.frames} frames, and {MOST_FRAMES} are read at most")
        self.height, self.width = turned_size(file.height, file.width, stored_orientation(file))

    def read(self) -> Iterator[Tensor]:
        for frame in islice(ImageSequence.Iterator(self.file), self.frames):
            yield _to_values(ImageOps.exif_transpose(frame))


def stored_orientation(file: Image.Image) -> int:
    """EXIF's orientation, without decoding the image."""
    if "exif" in file.info or file.format != "PNG":  # a PNG's may lie behind its pixels, and is looked for only there
        return file.getexif().get(ORIENTATION, 1)
    return 1


def _to_values(frame: Image.Image) -> Tensor:
    """-> (H, W, C) in [0, 1]"""
    if frame.mode.startswith("I") and frame.format in ("PPM", "JPEG2000"):  # which Pillow scales to 16 bits
        return scale(np.array(frame)[..., None], 65535)
    if frame.mode == "F" and frame.format == "PPM":
        return demand_finite(scale(np.array(frame)[..., None], 1))
    if frame.mode.startswith(("I", "F")):
        raise NotRead(f"its numbers ({frame.mode}) have no agreed white: save it with 8 or 16 bits")
    return scale(np.atleast_3d(np.array(frame.convert(choose_mode(frame)))), WHITE)


def _demand_whole_depth(file: Image.Image) -> None:
    """Raises NotRead if Pillow cuts the numbers of this file to 8 bits."""
    parts = [(tile[0], tile[3]) for tile in getattr(file, "tile", ())]
    deep = any(codec == "SGI16" or ";16" in str(how) for codec, how in parts)
    if file.format == "PPM":
        deep = file.mode == "RGB" and any(how[-1] > WHITE for _, how in parts)
    if deep and not file.mode.startswith("I"):
        raise NotRead("it has 16 bits a colour, of which only 8 could be read: save it as PNG or TIFF")
