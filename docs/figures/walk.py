"""From one photograph to another. Above: along the great circle between their latents. Below: pixels cross-faded."""

import torch
from common import CHELSEA, HERON, grid, square, to_bytes, vae
from exact_vae.vae_core.latents import slerp
from PIL import Image

STEPS = 6


def figure(side: int) -> Image.Image:
    a, b = square(CHELSEA, side), square(HERON, side)
    za, zb = (vae().encode(x).mode() for x in (a, b))
    along = torch.linspace(0, 1, STEPS).tolist()
    return grid([
        [to_bytes(vae().decode(slerp(za, zb, t))) for t in along],
        [to_bytes((1 - t) * a + t * b) for t in along],
    ])  # fmt: skip
