"""Draws images of kinds that photographs lack: hard edges, smooth gradients, text, stripes, flat colour."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
WORDS = ("VAE", "latent", "decode", "mean", "Gaussian", "pixel", "0123456789", "AaBbGgQqRr", "&%@#?!", "exact")


def draw_image(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a random image, (size, size, 3) uint8."""
    image = gradient(size, rng)
    kinds: tuple[Callable[..., None], ...] = (shapes, text, stripes)
    for kind in rng.choice(len(kinds), rng.integers(0, 3), replace=False):
        kinds[kind](image, rng)
    return np.asarray(image)


def colour(rng: np.random.Generator) -> Colour:
    r, g, b = rng.integers(0, 256, 3).tolist()
    return r, g, b


def gradient(size: int, rng: np.random.Generator) -> Image.Image:
    """Bilinear between four colours, now and then one flat colour."""
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    if rng.random() < 0.2:
        corners[:] = corners[0, 0]
    return Image.fromarray(corners).resize((size, size), Image.Resampling.BILINEAR)


def shapes(image: Image.Image, rng: np.random.Generator) -> None:
    draw, n = ImageDraw.Draw(image), image.width
    for _ in range(rng.integers(1, 6)):
        points = rng.integers(-n // 4, n + n // 4, (rng.integers(3, 6), 2))
        if rng.random() < 0.5:
            draw.polygon([(int(x), int(y)) for x, y in points], fill=colour(rng))
        else:
            (x0, y0), (x1, y1) = np.sort(points[:2], axis=0).tolist()
            draw.ellipse((x0, y0, x1, y1), fill=colour(rng), outline=colour(rng), width=int(rng.integers(1, 4)))


def text(image: Image.Image, rng: np.random.Generator) -> None:
    draw, n = ImageDraw.Draw(image), image.width
    font = ImageFont.load_default(size=int(rng.integers(8, 40)))
    for _ in range(rng.integers(1, 5)):
        at = (int(rng.integers(-8, n)), int(rng.integers(-8, n)))
        draw.text(at, " ".join(rng.choice(WORDS, 3)), fill=colour(rng), font=font)


def stripes(image: Image.Image, rng: np.random.Generator) -> None:
    draw, n, period = ImageDraw.Draw(image), image.width, int(rng.integers(4, 24))
    slope, ink = int(rng.integers(-n, n)), colour(rng)
    for x in range(-n, 2 * n, period):
        draw.line((x, 0, x + slope, n), fill=ink, width=max(1, period // int(rng.integers(2, 5))))
