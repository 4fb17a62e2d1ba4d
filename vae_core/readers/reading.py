"""Image files -> IMAGE (B, H, W, 3) float32 in [0, 1] and MASK (B, H, W), 1 where the image is transparent."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..files.kinds import EXR, HEIF, JXL, PNM, TIFF, kind_of
from .deep import open_deep, open_heif, open_jxl, open_pnm
from .exr import ExrImage
from .guards import demand_bytes, explain_damage
from .raster import FORMATS, PillowImages, open_pillow
from .source import Source

NO_MASK = (64, 64)  # the host's size for the mask of an image without alpha
KEPT = 16  # bytes a pixel of each frame: three colours and alpha, float32
DECODING = 36  # bytes a pixel of the one frame that is decoded: levels, copies of them in other modes, float32


class _Stack(NamedTuple):
    colours: Tensor  # (B, H, W, 3)
    opacity: Tensor | None  # (B, H, W)


def read(path: Path, most: int | None = None) -> tuple[Tensor, Tensor]:
    """-> IMAGE (B, H, W, 3) in [0, 1], MASK (B, H, W). Frames of another size than the first are left out.

    most: no more than so many frames are read.
    Numbers of files that hold floats are as they are. Without alpha the mask is zeros (B, 64, 64). Raises BadPixels for
    a file that is no image, a broken one or one that is not read, BadRequest for a pipe or a device, and DoesNotFit
    before anything is decoded if memory is too small.
    """
    colours, opacity = _read_stack(path, most)
    return colours, torch.zeros(len(colours), *NO_MASK) if opacity is None else 1 - opacity


def read_with_alpha(path: Path) -> Tensor:
    """-> IMAGE (B, H, W, 3), or (B, H, W, 4) for an image with alpha. Raises as `read` does."""
    return _join(_read_stack(path))


def read_first_with_alpha(path: Path) -> Tensor:
    """Only the first frame -> IMAGE (1, H, W, 3), or (1, H, W, 4) for an image with alpha. Raises as `read` does."""
    return _join(_read_stack(path, 1))


def _join(stack: _Stack) -> Tensor:
    """-> (B, H, W, 3), with opacity (B, H, W, 4)"""
    return stack.colours if stack.opacity is None else torch.cat([stack.colours, stack.opacity[..., None]], -1)


def read_first(path: Path) -> Tensor:
    """Only the first frame, without alpha -> IMAGE (1, H, W, 3). Raises as `read` does."""
    return _read_stack(path, 1).colours


def count_frames(path: Path) -> int:
    """How many images the file holds: pages, or frames of what moves. Raises as `read` does."""
    with explain_damage(path), _open(path) as source:
        return source.frames


def read_each(path: Path) -> Iterator[Tensor]:
    """The images of a file one after the other, IMAGE (1, H, W, 3), or (1, H, W, 4) with alpha, each of its own size.

    One is in memory at a time. Raises as `read` does.
    """
    with explain_damage(path), _open(path) as source:
        _demand_room(path, source, KEPT + DECODING)
        for frame in source.read():
            yield _join(_put(_Stack(torch.empty(1, *frame.shape[:2], 3), None), 0, frame))


def demand_room(path: Path, size: int, advice: str = "") -> None:
    """Raises DoesNotFit unless `size` bytes for each pixel of each frame are free in memory. Raises as `read` does."""
    with explain_damage(path), _open(path) as source:
        _demand_room(path, source, source.frames * size, advice)


def stored_as(path: Path) -> tuple[str, str]:
    """(format, mode) in Pillow's words, as the header says: ("GIF", "P"). Both are "" if Pillow does not know it."""
    try:
        with open_pillow(path, (*FORMATS, "TIFF")) as file:
            return file.format or "", file.mode
    except Exception:  # a damaged file may raise anything
        return "", ""


def measure(path: Path) -> tuple[int, int]:
    """(H, W) of an image, upright, as its header says: nothing is decoded. Raises as `read` does."""
    with explain_damage(path), _open(path) as source:
        return source.height, source.width


def _demand_room(path: Path, source: Source, size: int, advice: str = "") -> None:
    many = f"{source.frames} frames of " if source.frames > 1 else ""
    what = f"an image of {many}{source.width}x{source.height} pixels"
    demand_bytes(path, source.height * source.width * size, what, advice)


def _read_stack(path: Path, most: int | None = None) -> _Stack:
    with explain_damage(path), _open(path) as source:
        count = min(source.frames, most or source.frames)
        _demand_room(path, source, count * KEPT + DECODING)
        frames = islice(source.read(), count)
        first = next(frames)
        stack = _Stack(torch.empty(count, *first.shape[:2], 3), None)
        n = 0
        for frame in chain([first], frames):
            if frame.shape[:2] == first.shape[:2]:
                stack = _put(stack, n, frame)
                n += 1
        return _Stack(stack.colours[:n], None if stack.opacity is None else stack.opacity[:n])


def _put(stack: _Stack, n: int, frame: Tensor) -> _Stack:
    """Put a frame (H, W, C) in place n."""
    channels = frame.shape[-1]
    stack.colours[n] = frame[..., : 1 if channels < 3 else 3]
    if channels in (1, 3):
        return stack
    opacity = torch.ones(stack.colours.shape[:3]) if stack.opacity is None else stack.opacity
    opacity[n] = frame[..., -1]
    return _Stack(stack.colours, opacity)


@contextmanager
def _open(path: Path) -> Iterator[Source]:
    """The reader of this file's format."""
    kind = kind_of(path)
    if kind == TIFF:
        with _open_tiff(path) as source:
            yield source
        return
    demand_bytes(path, path.stat().st_size, "the file")  # which most decoders read at once
    if opener := {JXL: open_jxl, HEIF: open_heif, PNM: open_pnm, EXR: ExrImage}.get(kind):
        yield opener(path)
    else:
        with open_pillow(path) as file:
            yield open_deep(path, file) or PillowImages(file)


@contextmanager
def _open_tiff(path: Path) -> Iterator[Source]:
    from . import tiff  # here, for inside the host there may be no tifffile

    with tiff.open_tiff(path) as file:
        if not tiff.is_left_to_libtiff(file):
            yield tiff.TiffImages(path, file)
            return
    with open_pillow(path, ("TIFF",)) as image:
        yield PillowImages(image)
