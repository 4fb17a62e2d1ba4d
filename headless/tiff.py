"""Reads and writes TIFF files row by row, so that an image may be larger than memory.

Reads grey and RGB images of 8 or 16 bits, in strips or tiles, with one strip or row of tiles in memory at a time. Other
TIFF files (palettes, CMYK, other depths, several pages ...) are left to `image_files`, which reads them whole.
"""

import logging
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile
import torch
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG, TiffFile, TiffPage
from torch import Tensor

from ..vae_core.errors import BadPixels, BadRequest, VAEError
from ..vae_core.execution import format_bytes
from ..vae_core.files import write_atomically

SUFFIXES = (".tif", ".tiff")
PIECE = 2**18  # bytes to read at a time where the file allows any; as pixels, on their way, sixteen times as many
STRIP = 2**18  # bytes, about; what is written has strips of so many
CLASSIC = 2**32 - 2**20  # bytes, less room for tags: what offsets of 32 bits reach; beyond it is BigTIFF
LOSSLESS = (COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS,
            COMPRESSION.LZMA, COMPRESSION.ZSTD)  # fmt: skip
ORIENTATION, UPRIGHT = 274, 1  # the tag, and the value of an image that is read as it is seen
SILENT = logging.NullHandler()  # our own sentence says what is wrong with a file; tifffile need not log it


class TiffRows:
    """An image in a TIFF file. shape: (H, W, C), C 1 to 4: grey or RGB, and alpha."""

    def __init__(self, path: Path, page: TiffPage):
        self.path = path
        self.shape = (page.imagelength, page.imagewidth, page.samplesperpixel)

    def read(self) -> Iterator[Tensor]:
        """Its rows from the top, IMAGE (n, W, C) float32 in [0, 1]. Raises BadPixels for a damaged file."""
        with _explain_damage(self.path), _open(self.path) as file:
            page = _first_page(file)
            _demand_complete(page, self.path)
            white = np.iinfo(page.dtype).max  # type: ignore[arg-type]
            for levels in _read_stored(page, self.path) if page.is_final else _decode_bands(page):
                yield torch.from_numpy(levels.astype(np.float32)).div_(white)


def rows(path: Path) -> TiffRows | None:
    """The image in this file, or None if it cannot be read row by row."""
    if path.suffix.lower() not in SUFFIXES:
        return None
    try:
        with _open(path) as file:
            return TiffRows(path, _first_page(file)) if _is_plain(file) else None
    except Exception:  # a damaged file may raise anything: `image_files` will say what is wrong with it
        return None


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


@contextmanager
def _open(path: Path) -> Iterator[TiffFile]:
    logging.getLogger("tifffile").addHandler(SILENT)
    with TiffFile(path) as file:
        yield file


@contextmanager
def _explain_damage(path: Path) -> Iterator[None]:
    """Turns any error inside the block into a BadPixels that names the file."""
    try:
        yield
    except VAEError:
        raise
    except Exception as error:
        raise BadPixels(f"cannot read '{path.name}' as an image: {error}.") from error


def _first_page(file: TiffFile) -> TiffPage:
    page = file.pages[0]
    if not isinstance(page, TiffPage):
        raise tifffile.TiffFileError("its first page is none")
    return page


def _is_plain(file: TiffFile) -> bool:
    """Is it one image, whose numbers are its pixels from left to right and top to bottom?"""
    page = _first_page(file)
    aside = (one for one in file.pages if isinstance(one, TiffPage) and (one.is_reduced or one.is_mask))
    samples = {PHOTOMETRIC.MINISBLACK: (1, 2), PHOTOMETRIC.RGB: (3, 4)}
    return (
        page.samplesperpixel in samples.get(page.photometric, ())  # type: ignore[call-overload]
        and page.dtype in (np.uint8, np.uint16)
        and page.bitspersample in (8, 16)
        and page.imagedepth == 1
        and 0 not in page.shape
        and tifffile.EXTRASAMPLE.ASSOCALPHA not in page.extrasamples
        and page.tags.valueof(ORIENTATION, UPRIGHT) == UPRIGHT
        and _can_decode(page)
        and len(file.pages) == 1 + len(list(aside))
    )


def _can_decode(page: TiffPage) -> bool:
    """Some methods need the package `imagecodecs`."""
    try:
        _ = page.compression == COMPRESSION.NONE or tifffile.TIFF.DECOMPRESSORS[page.compression]
        _ = page.predictor == 1 or tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError:
        return False
    return page.compression in LOSSLESS


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


def _count_planes(page: TiffPage) -> int:
    return page.samplesperpixel if page.planarconfig == PLANARCONFIG.SEPARATE else 1


def _count_parts(page: TiffPage) -> tuple[int, int, int]:
    """Strips or tiles: (down, across, planes)."""
    high, wide = _part_size(page)
    return -(-page.imagelength // high), -(-page.imagewidth // wide), _count_planes(page)


def _part_size(page: TiffPage) -> tuple[int, int]:
    """Rows and columns of a strip or tile."""
    return (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)


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
    for y in range(down):
        band = np.empty((min(high, h - y * high), w, c), page.dtype)
        for plane in range(planes):
            for x in range(across):
                _decode_part(page, (plane * down + y) * across + x, band)
        yield band


def _decode_part(page: TiffPage, i: int, band: np.ndarray) -> None:
    """Decode strip or tile i into its place in the band."""
    file = page.parent.filehandle
    file.seek(page.dataoffsets[i])
    part, (sample, _, _, x, _), _ = page.decode(file.read(page.databytecounts[i]), i)
    assert part is not None  # it is only for a part of no bytes
    part = part[0, : band.shape[0], : band.shape[1] - x]
    band[:, x : x + part.shape[1], sample : sample + part.shape[2]] = part
