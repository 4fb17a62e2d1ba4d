"""Images of more than 8 bits, which Pillow would cut: PNG, AVIF, JPEG 2000, JPEG XL, HEIC, and PNM of any white.

`imagecodecs` decodes all but HEIC, which needs pillow-heif, and PNM, which is plain. Each is decoded as a whole.
"""

import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from . import jxl
from .raster import ORIENTATION
from .source import UPRIGHT, NotRead, demand_finite, scale, turn, turned_size

START = 2**16  # bytes in which headers lie
PNM = re.compile(rb"P([56])" + 3 * rb"(?:\s|#[^\n]*\n)+(\d+)" + rb"\s")  # kind, width, height, white
SYCC = b"colr\x01\x00\x00\x00\x00\x00\x12"  # JPEG 2000's box of a colour space, enumerated: sYCC


class CodecImage:
    """One image of (H, W), as it is stored, that is decoded at once: `decode` gives its levels, (H, W) or (H, W, C)."""

    frames = 1

    def __init__(
        self, size: tuple[int, int], white: float, decode: Callable[[], np.ndarray], orientation: int = UPRIGHT
    ):
        self.white, self.decode, self.orientation = white, decode, orientation
        self.height, self.width = turned_size(*size, orientation)

    def read(self) -> Iterator[Tensor]:
        levels = np.atleast_3d(self.decode())
        values = turn(scale(levels, self.white), self.orientation)
        yield demand_finite(values) if levels.dtype.kind == "f" else values


def open_deep(path: Path, file: Image.Image) -> CodecImage | None:
    """The reader of a file that Pillow would cut to 8 bits; None if it would not."""
    found = {"PNG": _open_png, "AVIF": _open_avif, "JPEG2000": _open_jpeg2000}.get(file.format or "")
    return found(path, file) if found else None


def _decoder(name: str, data: bytes) -> Callable[[], np.ndarray]:
    try:
        imagecodecs = import_module("imagecodecs")
    except ModuleNotFoundError as error:
        raise NotRead("it needs imagecodecs: pip install imagecodecs") from error
    return partial(getattr(imagecodecs, f"{name}_decode"), data)


def _demand_still(file: Image.Image) -> None:
    if getattr(file, "n_frames", 1) > 1:
        raise NotRead("it moves and has more than 8 bits: save its frames as images of their own")


def _open_png(path: Path, file: Image.Image) -> CodecImage | None:
    with path.open("rb") as opened:
        bits = opened.read(25)[24]
    # Pillow knows grey that stands for transparent in images of 1 and 8 bits only.
    if bits != 16 and not (bits in (2, 4) and file.mode == "L" and "transparency" in file.info):
        return None
    _demand_still(file)
    data = path.read_bytes()
    turned = b"eXIf" in data or b"Raw profile" in data
    orientation = file.getexif().get(ORIENTATION, UPRIGHT) if turned else UPRIGHT
    return CodecImage((file.height, file.width), 65535 if bits == 16 else 255, _decoder("png", data), orientation)


def _open_avif(path: Path, file: Image.Image) -> CodecImage | None:
    data = path.read_bytes()
    # AV1 in ISO media, 2.3: a byte, profile and level, then tier and depth; of the image, its alpha, its thumbnail
    depth = max((part[2] & 0x60 for part in data[:START].split(b"av1C")[1:] if len(part) > 2), default=0)
    if not depth & 0x40:
        return None
    _demand_still(file)
    orientation = file.getexif().get(ORIENTATION, UPRIGHT)
    return CodecImage((file.height, file.width), 4095 if depth & 0x20 else 1023, _decoder("avif", data), orientation)


def _open_jpeg2000(path: Path, file: Image.Image) -> CodecImage | None:
    data = path.read_bytes()
    at = data[:START].find(b"\xff\x51")  # ISO/IEC 15444-1, A.5.1: the sizes, at 38 the depth of the first component
    bits = (data[at + 38 + 2] & 0x7F) + 1 if at >= 0 else 8
    if bits <= 8:
        return None
    if data[at + 40] & 0x80 or SYCC in data[:START]:
        raise NotRead("its numbers have a sign, or are luma and chroma: save it as PNG or TIFF")
    return CodecImage((file.height, file.width), 2**bits - 1, _decoder("jpeg2k", data))


def open_jxl(path: Path) -> CodecImage:
    """A JPEG XL image. Raises NotRead if it moves."""
    data = path.read_bytes()
    header = jxl.read_header(data[:START])
    if header.animated:
        raise NotRead("it moves: save its frames as images of their own")
    white = 1 if header.floats else 2**header.bits - 1
    size = turned_size(header.height, header.width, header.orientation)  # the decoder turns it
    return CodecImage(size, white, _decoder("jpegxl", data))


def open_heif(path: Path) -> CodecImage:
    """The main image of a HEIC file. Raises UnidentifiedImageError without pillow-heif."""
    try:
        pillow_heif = import_module("pillow_heif")
    except ModuleNotFoundError as error:
        raise UnidentifiedImageError from error
    file = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)
    image = file[file.primary_index]
    bits = image.info.get("bit_depth", 8)
    white = 255 if ";" not in image.mode else (2**bits - 1) << (16 - bits)  # in the high bits of 16
    return CodecImage((image.size[1], image.size[0]), white, partial(np.asarray, image))


def open_pnm(path: Path) -> CodecImage:
    """A grey or RGB image of PNM (netpbm's PGM and PPM), of any white up to 65535."""
    data = path.read_bytes()
    found = PNM.match(data[:START])
    if not found:
        raise UnidentifiedImageError
    kind, width, height, white = (int(one) for one in found.groups())
    if not 0 < white < 65536:
        raise NotRead(f"its white is {white}, which must be from 1 to 65535")
    shape = (height, width, 3 if kind == 6 else 1)
    levels = np.frombuffer(data, ">u2" if white > 255 else "u1", math.prod(shape), found.end())
    return CodecImage(shape[:2], white, partial(np.reshape, levels, shape))
