"""The user's images: finds those that can be used, and cuts crops of them.

Thousands of images do not fit into memory: as many as fit are kept, the others are read again for each crop. The crops
of a step depend only on the images, the seed, and the numbers of the step and the crop.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..vae_core import readers
from ..vae_core.errors import BadRequest, some
from .images import SHRINK, open_image

LARGEST = 1600  # pixels of the short side from which crops are cut; larger images are shrunk to it first
KEPT = 2**31  # most bytes of images that are kept in memory
HELD_OUT = 12  # images at most
SHARE_HELD_OUT = 5  # one image of so many


@dataclass(frozen=True)
class Survey:
    """The files of a folder: images to train on, images held out to measure with, and unusable files with the reason.

    Names are paths within the folder.
    """

    folder: Path
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A hash of the names and sizes in bytes of the images to train on."""
        sizes = [f"{name}\0{(self.folder / name).stat().st_size}\n" for name in self.train]
        return hashlib.sha256("".join(sizes).encode()).hexdigest()


def survey(
    folder: Path, smallest: int, without: Sequence[Path] = (), progress: Callable[[int, int], None] | None = None
) -> Survey:
    """Open every file of a folder and its subfolders.

    smallest   the least width and height, in pixels, of a usable image
    without    files and folders to leave out
    One of five, twelve at most, is held out: which ones depends on their names alone. Raises BadRequest if the folder
    cannot be read or has fewer than two images that can be used.
    """
    paths = sorted(_files(folder, {path.absolute() for path in without}))
    usable, skipped = [], {}
    for n, path in enumerate(paths):
        name = path.relative_to(folder).as_posix()
        if why := _why_unusable(path, smallest):
            skipped[name] = why
        else:
            usable.append(name)
        if progress:
            progress(n + 1, len(paths))
    if len(usable) < 2:
        raise BadRequest(_say_too_few(folder, usable, skipped))
    drawn = sorted(usable, key=lambda name: hashlib.sha256(name.encode()).digest())
    held_out = set(drawn[: min(HELD_OUT, max(1, len(drawn) // SHARE_HELD_OUT))])
    train = tuple(name for name in usable if name not in held_out)
    return Survey(folder, train, tuple(sorted(held_out)), skipped)


def _files(folder: Path, without: set[Path]) -> Iterator[Path]:
    try:
        for path in folder.iterdir():
            if path.name.startswith(".") or path.absolute() in without:
                continue
            if path.is_dir() and not path.is_symlink():
                yield from _files(path, without)
            elif not path.is_dir():
                yield path
    except OSError as e:
        raise BadRequest(f"'{folder}' cannot be read: {e.strerror or e}.") from e


def _why_unusable(path: Path, smallest: int) -> str | None:
    """Why a file cannot be used; None if it can."""
    if path.suffix.lower() not in readers.SUFFIXES:
        return "it has the ending of no image"
    try:
        image = open_image(path)
    except BadRequest as e:
        return str(e).partition(" cannot be read as an image: ")[2].partition("; take it out")[0] or str(e)
    width, height = image.size
    return f"it has {width}x{height} pixels, crops {smallest}x{smallest}" if min(width, height) < smallest else None


def _say_too_few(folder: Path, usable: list[str], skipped: dict[str, str]) -> str:
    found = "one image that can be used" if usable else "no image that can be used"
    why = some([f"'{name}' ({why})" for name, why in skipped.items()])
    return f"'{folder}' has {found}, but at least two are needed, one of them to measure with" + (
        f"; of no use: {why}." if skipped else "."
    )


class FolderCrops:
    """Crops of the images to train on, at scales from the image's own down to the crop's, half of them mirrored."""

    def __init__(self, found: Survey, seed: int):
        self.paths, self.seed = [found.folder / name for name in found.train], seed
        self._kept: dict[Path, Image.Image] = {}
        self._room = KEPT

    def batch(self, step: int, size: int, count: int, share: slice = slice(None)) -> Tensor:
        crops = [self._crop(size, np.random.default_rng((self.seed, step, n))) for n in range(count)[share]]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)

    def _crop(self, size: int, rng: np.random.Generator) -> np.ndarray:
        image = self._image(self.paths[rng.integers(len(self.paths))])
        crop = np.asarray(cut(image, size, rng), np.float32) / np.float32(127.5) - 1
        return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)

    def _image(self, path: Path) -> Image.Image:
        if path in self._kept:
            return self._kept[path]
        image = open_image(path)
        bytes_of = 3 * image.width * image.height
        if bytes_of <= self._room:
            self._room -= bytes_of
            self._kept[path] = image
        return image


def cut(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """A crop of size x size pixels, of the image at a random one of the scales of `ladder`."""
    shorts = ladder(min(*image.size, LARGEST), size)
    scale = min(image.size) / shorts[rng.integers(len(shorts))]
    left, top = (scale * rng.integers(int(n / scale + 1e-6) - size + 1) for n in image.size)
    box = (left, top, min(left + size * scale, image.width), min(top + size * scale, image.height))
    return image.resize((size, size), Image.Resampling.LANCZOS, box)


def ladder(largest: int, smallest: int) -> list[int]:
    """Short sides, each `SHRINK` times smaller than the one before."""
    shorts = []
    while largest >= smallest:
        shorts.append(largest)
        largest = int(largest / SHRINK)
    return shorts
