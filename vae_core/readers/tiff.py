"""TIFF files row by row, so that an image may be larger than memory; and whole, which is all of its rows.

Grey, RGB, palettes and CMYK, with or without alpha; integers of 1 to 16 bits, or floats; strips or tiles. One strip or
row of tiles is in memory at a time.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG, TiffFile, TiffPage
from torch import Tensor

from ..errors import BadPixels
from ..files.kinds import TIFF, kind_of
from .guards import MOST_FRAMES, demand_bytes, explain_damage
from .source import UPRIGHT, NotRead, demand_finite, divide_by_alpha, scale, turn, turned_size

PIECE = 2**18  # bytes to read at a time where the file allows any; as pixels, on their way, sixteen times as many
JPEG = (COMPRESSION.JPEG, COMPRESSION.OJPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY)  # decoded to RGB or grey
ORIENTATION, INK_SET, CMYK = 274, 332, 1  # tags, and the value of four inks: cyan, magenta, yellow, black
SILENT = logging.NullHandler()  # our own sentence says what is wrong with a file; tifffile need not log it
# photometric interpretation -> (samples of a pixel that are its colour, channels that they become)
COLOURS = {PHOTOMETRIC.MINISWHITE: (1, 1), PHOTOMETRIC.MINISBLACK: (1, 1), PHOTOMETRIC.RGB: (3, 3),
           PHOTOMETRIC.PALETTE: (1, 3), PHOTOMETRIC.SEPARATED: (4, 3), PHOTOMETRIC.YCBCR: (3, 3)}  # fmt: skip


class TiffRows:
    """An image in a TIFF file. shape: (H, W, C), C 1 to 4: grey or RGB, and alpha."""

    def __init__(self, path: Path, page: TiffPage):
        self.path = path
        self.shape = (page.imagelength, page.imagewidth, _count_channels(page))

    def read(self) -> Iterator[Tensor]:
        """Its rows from the top, IMAGE (n, W, C) float32 in [0, 1]. Raises BadPixels for a damaged file."""
        with explain_damage(self.path), open_tiff(self.path) as file:
            yield from _read_rows(_full_pages(file)[0], self.path)


def rows(path: Path) -> TiffRows | None:
    """The image in this file; None if it is none that can be read row by row. Raises BadRequest if there is no file."""
    if not _is_tiff(path):
        return None
    try:
        with open_tiff(path) as file:
            pages = _full_pages(file)
            _demand_readable(pages[0])
            plain = len(pages) == 1 and _orientation(pages[0]) == UPRIGHT and not is_left_to_libtiff(file)
            return TiffRows(path, pages[0]) if plain else None
    except Exception:  # a damaged file may raise anything: reading it whole will say what is wrong with it
        return None


def _is_tiff(path: Path) -> bool:
    try:
        return kind_of(path) == TIFF
    except OSError:
        return False


class TiffImages:
    """The pages of a TIFF file, without smaller copies and masks."""

    def __init__(self, path: Path, file: TiffFile):
        self.path, self.pages = path, _full_pages(file)
        for page in self.pages:
            _demand_readable(page)
        first = self.pages[0]
        self.frames = len(self.pages)
        self.height, self.width = turned_size(first.imagelength, first.imagewidth, _orientation(first))

    def read(self) -> Iterator[Tensor]:
        for page in self.pages:
            yield turn(_read_page(page, self.path), _orientation(page))


@contextmanager
def open_tiff(path: Path) -> Iterator[TiffFile]:
    logging.getLogger("tifffile").addHandler(SILENT)
    with TiffFile(path) as file:
        yield file


def is_left_to_libtiff(file: TiffFile) -> bool:
    """Luma and chroma that are not JPEG: tifffile would not bring them to one size. Pillow has libtiff."""
    page = file.pages[0]
    return isinstance(page, TiffPage) and page.photometric == PHOTOMETRIC.YCBCR and page.compression not in JPEG


def _orientation(page: TiffPage) -> int:
    return page.tags.valueof(ORIENTATION, UPRIGHT)


def _full_pages(file: TiffFile) -> list[TiffPage]:
    """The pages that are images, and no smaller copies or masks of another. Raises NotRead if there is none."""
    if len(file.pages) > MOST_FRAMES:
        raise NotRead(f"it has {len(file.pages)} pages, and {MOST_FRAMES} are read at most")
    pages = [page for page in file.pages if isinstance(page, TiffPage) and not (page.is_reduced or page.is_mask)]
    if not pages:
        raise NotRead("it holds no image but smaller copies: develop a camera's raw file, and export a TIFF")
    return pages


def _demand_readable(page: TiffPage) -> None:
    """Raises NotRead unless the numbers of this page are colours with an agreed black and white."""
    samples, _ = COLOURS.get(page.photometric, (0, 0))  # type: ignore[call-overload]
    if not samples or page.samplesperpixel < samples or page.imagedepth != 1 or 0 in page.shape:
        raise NotRead(f"its {page.samplesperpixel} numbers a pixel are no grey, RGB or CMYK: save it as RGB")
    if page.photometric == PHOTOMETRIC.MINISBLACK and page.samplesperpixel > 2 and not _alpha(page):
        raise NotRead(f"its {page.samplesperpixel} channels are no colours: save it as RGB, or one of them as grey")
    if page.photometric == PHOTOMETRIC.SEPARATED and page.tags.valueof(INK_SET, CMYK) != CMYK:
        raise NotRead("its inks are not those of CMYK: save it as RGB")
    if page.dtype is None or page.dtype.kind not in "buf" or (page.dtype.kind == "u" and _bits(page) > 16):
        raise NotRead(
            f"its numbers are {_name_numbers(page)}, which have no agreed white: save it with 8 or 16 bits "
            "without sign, or with floats from 0 to 1"
        )
    _demand_decoder(page)


def _bits(page: TiffPage) -> int:
    """Bits of a number; 0 if they differ between colours."""
    return page.bitspersample if isinstance(page.bitspersample, int) else 0


def _name_numbers(page: TiffPage) -> str:
    kind = {1: "integers", 2: "integers with a sign", 3: "floats", 5: "complex integers", 6: "complex numbers"}
    return f"{kind.get(page.sampleformat, 'of an unknown kind')} of {page.bitspersample} bits"


def _demand_decoder(page: TiffPage) -> None:
    """Some methods need the package `imagecodecs`. Raises NotRead if it is not there, or does not know the method."""
    try:
        _ = page.compression == COMPRESSION.NONE or tifffile.TIFF.DECOMPRESSORS[page.compression]
        _ = page.predictor == 1 or tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError as error:
        name = getattr(page.compression, "name", page.compression)
        what = "save it with deflate" if find_spec("imagecodecs") else "install imagecodecs (pip install imagecodecs)"
        raise NotRead(f"it is compressed with {name}, which is not read here: {what}") from error


def _alpha(page: TiffPage) -> int:
    """Which sample of a pixel is alpha; 0 if none is."""
    colours, _ = COLOURS[page.photometric]  # type: ignore[index]
    kinds = page.extrasamples or (EXTRASAMPLE.UNASSALPHA,)  # one more that is not explained is alpha to all readers
    found = [i for i, kind in enumerate(kinds, colours) if kind != EXTRASAMPLE.UNSPECIFIED]
    return next((i for i in found if i < page.samplesperpixel), 0)


def _count_channels(page: TiffPage) -> int:
    return COLOURS[page.photometric][1] + (1 if _alpha(page) else 0)  # type: ignore[index]


def _read_page(page: TiffPage, path: Path) -> Tensor:
    """A page as it is stored, (H, W, C)."""
    image = torch.empty(page.imagelength, page.imagewidth, _count_channels(page))
    top = 0
    for band in _read_rows(page, path):
        image[top : top + len(band)] = band
        top += len(band)
    return image


def _read_rows(page: TiffPage, path: Path) -> Iterator[Tensor]:
    """Bands (n, W, C) from the top."""
    _demand_complete(page, path)
    _demand_part_fits(page, path)
    for levels in _read_stored(page, path) if page.is_final else _decode_bands(page):
        yield _to_values(page, levels)


def _to_values(page: TiffPage, levels: np.ndarray) -> Tensor:
    """Numbers as they are stored, (n, W, samples) -> a band (n, W, C) in [0, 1]."""
    samples, _ = COLOURS[page.photometric]  # type: ignore[index]
    colours = _to_colours(page, levels[..., :samples])
    if at := _alpha(page):
        values = torch.cat([colours, scale(levels[..., at : at + 1], _white(page))], -1)
        associated = page.extrasamples and page.extrasamples[at - samples] == EXTRASAMPLE.ASSOCALPHA
        return divide_by_alpha(values) if associated else values
    return colours


def _white(page: TiffPage) -> float:
    assert page.dtype is not None
    return 1 if page.dtype.kind in "bf" else 2 ** _bits(page) - 1


def _to_colours(page: TiffPage, levels: np.ndarray) -> Tensor:
    """The colours of a band: (n, W, samples) -> (n, W, 1 or 3) in [0, 1]."""
    if page.photometric == PHOTOMETRIC.PALETTE:
        return _look_up(page, levels[..., 0])
    white = _white(page)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        levels = np.subtract(white, levels, dtype=np.float32)
    values = scale(levels, white)
    if page.photometric == PHOTOMETRIC.SEPARATED:
        return (1 - values[..., :3]) * (1 - values[..., 3:])
    return demand_finite(values) if page.dtype.kind == "f" else values  # type: ignore[union-attr]


def _look_up(page: TiffPage, levels: np.ndarray) -> Tensor:
    """Numbers of a palette (n, W) -> (n, W, 3). Palettes of 8 bits are written times 257, times 256, or as they are."""
    table = np.asarray(page.colormap)
    white = 255 if table.max() < 256 else 65280 if not (table & 255).any() else 65535
    return scale(np.moveaxis(table[:, levels], 0, -1), white)


def _demand_complete(page: TiffPage, path: Path) -> None:
    """Every strip or tile lies in the file. (One that is missing would be black.)"""
    size = path.stat().st_size
    stored = (
        [(page.dataoffsets[0], page.nbytes)]
        if page.is_final
        else list(zip(page.dataoffsets, page.databytecounts, strict=True))
    )
    there = sum(1 for offset, count in stored if offset and count and offset + count <= size)
    wanted = 1 if page.is_final else math.prod(_count_parts(page))
    if there < wanted:
        raise BadPixels(f"'{path.name}' is cut short: {wanted - there} of its {wanted} parts are not in the file.")


def _demand_part_fits(page: TiffPage, path: Path) -> None:
    high, wide = _part_size(page)
    demand_bytes(path, 0 if page.is_final else 2 * high * wide * page.samplesperpixel * page.dtype.itemsize)  # type: ignore[union-attr]


def _count_planes(page: TiffPage) -> int:
    return page.samplesperpixel if page.planarconfig == PLANARCONFIG.SEPARATE else 1


def _count_parts(page: TiffPage) -> tuple[int, int, int]:
    """Strips or tiles: (down, across, planes)."""
    high, wide = _part_size(page)
    return -(-page.imagelength // high), -(-page.imagewidth // wide), _count_planes(page)


def _part_size(page: TiffPage) -> tuple[int, int]:
    """Rows and columns of a strip or tile."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _read_stored(page: TiffPage, path: Path) -> Iterator[np.ndarray]:
    """Bands (n, W, C) of uncompressed pixels. Read, not mapped: a map of a file that shrinks kills the process."""
    h, w, planes = page.imagelength, page.imagewidth, _count_planes(page)
    across = page.samplesperpixel // planes
    dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    row = w * across * dtype.itemsize
    n = max(1, PIECE // (row * planes))
    for top in range(0, h, n):
        count = min(n, h - top)
        starts = [page.dataoffsets[0] + (plane * h + top) * row for plane in range(planes)]
        parts = [np.fromfile(path, dtype, count * w * across, offset=start) for start in starts]
        yield np.concatenate([part.reshape(count, w, across) for part in parts], -1)


def _decode_bands(page: TiffPage) -> Iterator[np.ndarray]:
    """Bands (n, W, C), one for each strip or row of tiles."""
    h, w, c = page.imagelength, page.imagewidth, page.samplesperpixel
    down, across, planes = _count_parts(page)
    high = _part_size(page)[0]
    how = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in JPEG else {}
    for y in range(down):
        band = np.empty((min(high, h - y * high), w, c), page.dtype)
        parts = [(plane * down + y) * across + x for plane in range(planes) for x in range(across)]
        if sum(_decode_part(page, i, band, how) for i in parts) != band.size:
            raise ValueError(f"its parts do not cover the rows from {y * high} on")
        yield band


def _decode_part(page: TiffPage, i: int, band: np.ndarray, how: dict[str, Any]) -> int:
    """Decode strip or tile i into its place in the band. -> how many numbers it has there"""
    decode, file = page.decode, page.parent.filehandle  # the first may read tables of the file, so it comes first
    file.seek(page.dataoffsets[i])
    part, (sample, _, _, x, _), _ = decode(file.read(page.databytecounts[i]), i, **how)
    assert part is not None  # it is only for a part of no bytes
    part = part[0, : band.shape[0], : band.shape[1] - x]
    band[: len(part), x : x + part.shape[1], sample : sample + part.shape[2]] = part
    return part.size
