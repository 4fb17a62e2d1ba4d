"""Draws 25 images of one style: landscapes as in an old game, in twelve colours and large square pixels.

`python -m exact_vae.training pixel-art --data DIR` draws them. results/pixel-art.md reports fine-tuning on them.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from ..vae_core.files import make_folder, write_atomically

CELLS = 64  # on each side of an image
SIDE = 4  # pixels on each side of a cell
PALETTE = np.array(
    [(13, 16, 43), (38, 43, 99), (94, 84, 142), (190, 114, 133), (246, 180, 128), (255, 236, 179), (24, 56, 44),
     (42, 99, 60), (106, 158, 70), (92, 58, 46), (170, 70, 52), (236, 236, 224)], np.uint8)  # fmt: skip
SKY, SUN, HILLS, WOOD, ROOF, LIGHT = (0, 1, 2, 3, 4), 5, (6, 7, 8), 9, 10, 11


def pixel_art(rng: np.random.Generator) -> np.ndarray:
    """(256, 256, 3) uint8"""
    cells = sky(rng)
    sun(cells, rng)
    ground = CELLS
    for n, colour in enumerate(HILLS):
        ground = hills(cells, colour, 24 + 11 * n, rng)
        for x in rng.integers(2, CELLS - 8, rng.integers(1, 6)):
            (house if rng.random() < 0.35 else tree)(cells, int(x), int(ground[x]), n, rng)
    return PALETTE[cells].repeat(SIDE, 0).repeat(SIDE, 1)


def sky(rng: np.random.Generator) -> np.ndarray:
    """Bands of colour, dithered into one another, and stars in the dark ones."""
    first, height = rng.integers(0, 3), rng.uniform(10, 20)
    y, x = np.mgrid[:CELLS, :CELLS]
    level = y / height + 0.5 * ((x + y) % 2 - 0.5)
    cells = np.clip(first + level.astype(int), 0, len(SKY) - 1)
    stars = (rng.random(cells.shape) < 0.02) & (cells < 2)
    return np.where(stars, LIGHT, cells)


def sun(cells: np.ndarray, rng: np.random.Generator) -> None:
    y, x = np.mgrid[:CELLS, :CELLS]
    away = np.hypot(x - rng.integers(8, CELLS - 8), y - rng.integers(6, 26))
    cells[away < rng.integers(3, 8)] = SUN


def hills(cells: np.ndarray, colour: int, top: int, rng: np.random.Generator) -> np.ndarray:
    """Fill everything below a wavy line with one colour. Returns the line."""
    along, (a, b) = np.arange(CELLS), rng.uniform(0, 2 * np.pi, 2)
    line = top + rng.uniform(2, 6) * np.sin(along / rng.uniform(5, 12) + a) + 2 * np.sin(along / 3 + b)
    line = line.astype(int)
    cells[np.arange(CELLS)[:, None] >= line] = colour
    return line


def tree(cells: np.ndarray, x: int, ground: int, n: int, rng: np.random.Generator) -> None:
    height = int(rng.integers(4, 9))
    cells[max(0, ground - 2) : ground + 1, x + 1] = WOOD
    for row in range(height):
        half = (row + 1) // 2
        y = ground - 2 - height + row
        if y >= 0:
            cells[y, max(0, x + 1 - half) : x + 2 + half] = HILLS[(n + 1 + row % 2) % len(HILLS)]


def house(cells: np.ndarray, x: int, ground: int, n: int, rng: np.random.Generator) -> None:
    width = int(rng.integers(4, 8))
    cells[ground - 4 : ground + 1, x : x + width] = LIGHT
    cells[ground - 2 : ground + 1, x + 1] = WOOD
    cells[ground - 3, x + width - 2] = SUN
    for row in range(3):
        cells[ground - 7 + row, max(0, x + 1 - row) : x + width - 1 + row] = ROOF


def draw(folder: Path, count: int = 25) -> None:
    """Draw the images into a folder: the same ones each time."""
    make_folder(folder)
    for i in range(count):
        with write_atomically(folder / f"{i:02}.png") as part:
            Image.fromarray(pixel_art(np.random.default_rng(i))).save(part, "PNG")
