"""What the figures share: two photographs, two networks, and grids of images. No text is drawn: fonts differ.

Photographs: assets/photograph.jpg (pondering-heron, CC0) and assets/chelsea.jpg (skimage's, Stefan van der Walt,
CC0). Neither was ever trained on.
"""

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from exact_vae.vae_core import VAE, load
from exact_vae.vae_core.checkpoints import built_in
from exact_vae.vae_core.images import to_levels, to_unit_range
from PIL import Image
from torch import Tensor

HERE = Path(__file__).parent
TWIN = HERE.parents[1] / "training" / "results" / "without-kl.safetensors"
HERON, CHELSEA = built_in.PHOTOGRAPHS["heron"], built_in.PHOTOGRAPHS["cat"]
GAP = 4  # pixels of white between images


@lru_cache
def vae() -> VAE:
    """The built-in VAE."""
    return load(dtype=torch.float32)


@lru_cache
def twin() -> VAE:
    """The same network trained without the KL term."""
    return load(TWIN, dtype=torch.float32)


def square(path: Path, side: int) -> Tensor:
    """The middle of a photograph, pixels (1, 3, side, side) in [-1, 1]."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    n = min(image.size)
    left, top = (image.width - n) // 2, (image.height - n) // 2
    image = image.resize((side, side), Image.Resampling.LANCZOS, (left, top, left + n, top + n))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1


def to_bytes(pixels: Tensor) -> np.ndarray:
    """pixels (1, 3, H, W) in [-1, 1] -> (H, W, 3) uint8"""
    return to_levels(to_unit_range(pixels[0])).permute(1, 2, 0).numpy()


def grey(plane: Tensor, low: float, high: float, side: int) -> np.ndarray:
    """(h, w) -> (side, side, 3) uint8, low black and high white, every value a square."""
    levels = ((plane - low) / (high - low) * 255).clamp(0, 255).round().byte()
    image = Image.fromarray(levels.numpy()).resize((side, side), Image.Resampling.NEAREST)
    return np.asarray(image.convert("RGB"))


def write(image: Image.Image, stem: Path) -> Path:
    """As PNG, or as JPEG where that is much smaller. -> where"""
    png, jpg = (io.BytesIO() for _ in range(2))
    image.save(png, "PNG", optimize=True)
    image.save(jpg, "JPEG", quality=88, optimize=True)
    smaller = jpg if jpg.tell() * 2 < png.tell() else png
    path = stem.with_suffix(".jpg" if smaller is jpg else ".png")
    path.write_bytes(smaller.getvalue())
    return path


def grid(rows: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    """Images of one size in rows."""
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    sheet = np.full((len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            top, left = y * (height + GAP), x * (width + GAP)
            sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet)
