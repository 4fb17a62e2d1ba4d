"""Cuts training crops from photographs. The crops of a step depend only on the seed and the step's number."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..vae_core import readers
from ..vae_core.errors import BadRequest, VAEError
from ..vae_core.images import to_levels
from .procedural import draw_image

SHRINK = 1.5  # from one size in the pyramid to the next


class Crops(Protocol):
    """A source of training crops. The same step always gets the same crops."""

    def batch(self, step: int, size: int, count: int, share: slice = slice(None)) -> Tensor:
        """The crops of a step, (count, 3, size, size) in [-1, 1] float32, or only `share` of them."""
        ...


class Pyramid:
    """A photograph in several sizes, so that crops show details as well as wholes. Levels: (H, W, 3) uint8."""

    def __init__(self, image: Image.Image, smallest: int, largest: int = 1600):
        self.levels: list[np.ndarray] = []
        short = min(*image.size, largest)
        while short >= smallest:
            self.levels.append(np.asarray(shrink(image, short)))
            short = int(short / SHRINK)

    @property
    def short(self) -> int:
        """The short side of the largest level; 0 for a photograph that was smaller than the smallest."""
        return min(self.levels[0].shape[:2]) if self.levels else 0

    def crop(self, size: int, rng: np.random.Generator) -> np.ndarray:
        fitting = [level for level in self.levels if min(level.shape[:2]) >= size]
        level = fitting[rng.integers(len(fitting))]
        y, x = (int(rng.integers(n - size + 1)) for n in level.shape[:2])
        return level[y : y + size, x : x + size]


def shrink(image: Image.Image, short: int) -> Image.Image:
    """The image with its short side `short` pixels long."""
    scale = short / min(image.size)
    width, height = (max(short, round(n * scale)) for n in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def open_image(path: Path) -> Image.Image:
    """An image as RGB of 8 bits, turned as its camera says; of a moving one the first frame.

    Raises BadRequest if the file is no image, is broken, or too large for the memory.
    """
    try:
        levels = to_levels(readers.read_first(path)[0])
    except VAEError as error:
        _, found, why = str(error).partition(" as an image: ")
        said = f"'{path}' cannot be read{found}{why}" if found else str(error)  # which names the file already
        raise BadRequest(f"{said.rstrip('.')}; take it out or replace it.") from error
    return Image.fromarray(levels.numpy())


def list_images(folder: Path) -> list[Path]:
    """The images of a folder, in the order of their names. Raises BadRequest if there are none."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in readers.SUFFIXES)
    except FileNotFoundError:
        paths = []
    except OSError as e:
        raise BadRequest(f"'{folder}' cannot be read: {e.strerror or e}.") from e
    if not paths:
        raise BadRequest(f"there are no photographs in '{folder}': run fetch first, or put some there.")
    return paths


def open_photographs(folder: Path) -> Iterator[Image.Image]:
    """The images of a folder, opened one after the other. Raises BadRequest."""
    yield from map(open_image, list_images(folder))


class Images:
    """Batches of crops from photographs, mixed with drawn images."""

    def __init__(self, photographs: Sequence[Pyramid], *, share_drawn: float, seed: int):
        if not photographs and share_drawn < 1:
            raise BadRequest("there are no photographs to train from.")
        self.photographs, self.share_drawn, self.seed = photographs, share_drawn, seed

    def batch(self, step: int, size: int, count: int, share: slice = slice(None)) -> Tensor:
        rng = np.random.default_rng((self.seed, step))
        crops = [vary(self._crop(size, rng), rng) for _ in range(count)]
        return torch.from_numpy(np.stack(crops[share])).permute(0, 3, 1, 2)

    def _crop(self, size: int, rng: np.random.Generator) -> np.ndarray:
        if rng.random() < self.share_drawn:
            return draw_image(size, rng)
        fitting = [p for p in self.photographs if p.short >= size]
        return fitting[rng.integers(len(fitting))].crop(size, rng)


def vary(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 -> float32 in [-1, 1], randomly mirrored or turned, light and colours changed a little."""
    crop = np.rot90(crop, int(rng.choice(4, p=(0.7, 0.1, 0.1, 0.1))))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    x = (crop / 255.0).astype(np.float32)
    if rng.random() < 0.1:
        x = x[..., rng.permutation(3)]
    x = x ** np.float32(rng.uniform(0.8, 1.25))
    grey = x.mean(-1, keepdims=True)
    gains = rng.uniform(0.85, 1.15, 3).astype(np.float32)
    x = (grey + np.float32(rng.uniform(0.5, 1.4)) * (x - grey)) * gains
    return np.ascontiguousarray(x.clip(0, 1) * 2 - 1)
