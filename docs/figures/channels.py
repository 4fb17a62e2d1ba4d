"""The same photograph kept in 4, 16, 32 and 64 numbers for every 8 x 8 pixels, by the best linear code there is for it.

The principal components of the photograph's own blocks. Last: the built-in VAE, with 4 numbers.
"""

import torch
from common import HERON, grid, square, to_bytes, vae
from exact_vae.vae_core.images import psnr, ssim, to_unit_range
from PIL import Image
from torch import Tensor
from torch.nn.functional import fold, unfold

CHANNELS, BLOCK = (4, 16, 32, 64), 8


def linear(x: Tensor, channels: int) -> Tensor:
    """pixels (1, 3, H, W) through the first principal components of their blocks."""
    blocks = unfold(x.double(), BLOCK, stride=BLOCK)[0].T
    mean = blocks.mean(0)
    _, components = torch.linalg.eigh((blocks - mean).T @ (blocks - mean))
    basis = components[:, -channels:]
    kept = mean + (blocks - mean) @ basis @ basis.T
    return fold(kept.T[None], x.shape[-2:], BLOCK, stride=BLOCK).float()


def figure(side: int) -> Image.Image:
    x = square(HERON, side)
    y = vae().decode(vae().encode(x).mode())
    return grid([[to_bytes(x), *(to_bytes(linear(x, n)) for n in CHANNELS), to_bytes(y)]])


def facts(side: int) -> list[str]:
    x = square(HERON, side)
    lines = ["| numbers for 8 x 8 pixels | times fewer | linear code: PSNR | SSIM |", "|---|---|---|---|"]
    for n in CHANNELS:
        a, b = (to_unit_range(y.clamp(-1, 1)) for y in (x, linear(x, n)))
        lines.append(f"| {n} | {192 / n:.0f} | {psnr(a, b).item():.1f} dB | {ssim(a, b).item():.3f} |")
    a, b = (to_unit_range(y.clamp(-1, 1)) for y in (x, vae().decode(vae().encode(x).mode())))
    lines.append(f"| 4, the built-in VAE | 48 | {psnr(a, b).item():.1f} dB | {ssim(a, b).item():.3f} |")
    return lines
