"""From one photograph to another along the great circle between their latents. Below: the same in pixels."""

import torch
from common import CHELSEA, HERON, grid, shown, square, vae
from PIL import Image
from torch import Tensor

STEPS = 6


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """t of the way from a to b along the great circle (Shoemake 1985); a, b: one latent each, of unlike directions."""
    angle = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0).acos()
    return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()


def figure(side: int) -> Image.Image:
    a, b = square(CHELSEA, side), square(HERON, side)
    za, zb = (vae().encode(x).mode() for x in (a, b))
    along = torch.linspace(0, 1, STEPS).tolist()
    return grid([
        [shown(vae().decode(slerp(za, zb, t))) for t in along],
        [shown((1 - t) * a + t * b) for t in along],
    ])  # fmt: skip
