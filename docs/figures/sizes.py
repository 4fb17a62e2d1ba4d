"""An image of 61 x 45 pixels and a ratio of 8. Every square is what one latent pixel stands for.

The image over the squares; continued to 64 x 48 by mirroring (lighter), which is encoded; decoded and cropped; what a
crop to a multiple of 8 would have left.
"""

import numpy as np
from common import CHELSEA, grid, square, to_bytes, vae
from exact_vae.vae_core.images import pad_to
from PIL import Image

HEIGHT, WIDTH, RATIO = 45, 61, 8


def figure(side: int) -> Image.Image:
    x = square(CHELSEA, 96)[..., 12 : 12 + HEIGHT, 18 : 18 + WIDTH]
    padded = pad_to(x, RATIO)
    posterior = vae().encode(x)
    back = vae().decode(posterior.mode(), size=posterior.size)
    cropped = to_bytes(x)[: HEIGHT // RATIO * RATIO, : WIDTH // RATIO * RATIO]
    light = to_bytes(padded)
    light[HEIGHT:], light[:, WIDTH:] = light[HEIGHT:] // 2 + 127, light[:, WIDTH:] // 2 + 127
    times = max(1, side // padded.shape[-1])
    return grid(
        [[on_squares(image, padded.shape[-2:], times) for image in (to_bytes(x), light, to_bytes(back), cropped)]]
    )


def on_squares(image: np.ndarray, size: tuple[int, ...], times: int) -> np.ndarray:
    """The image at the upper left of a white sheet, every pixel `times` wide, under lines every RATIO pixels."""
    sheet = np.full((*size, 3), 255, np.uint8)
    sheet[: image.shape[0], : image.shape[1]] = image
    sheet = sheet.repeat(times, 0).repeat(times, 1)
    step = RATIO * times
    sheet[step::step], sheet[:, step::step] = 128, 128
    return sheet
