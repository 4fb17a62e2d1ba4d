"""Where blur comes from. The photograph; decoded from the mode; from a sample; the mean of 8 decoded samples; and
encoded at twice the size (four times the numbers), decoded and shrunk. The eye of the cat, enlarged."""

import numpy as np
import torch
from common import CHELSEA, grid, square, to_bytes, vae
from exact_vae.vae_core.images import psnr, to_unit_range
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

SAMPLES = 8


def versions(side: int) -> dict[str, Tensor]:
    x, large = square(CHELSEA, side), square(CHELSEA, 2 * side)
    posterior = vae().encode(x)
    samples = [vae().decode(posterior.sample(torch.Generator().manual_seed(n))) for n in range(SAMPLES)]
    return {
        "the photograph": x,
        "decoded from the mode": vae().decode(posterior.mode()),
        "decoded from a sample": samples[0],
        f"mean of {SAMPLES} decoded samples": torch.stack(samples).mean(0),
        "encoded at twice the size": avg_pool2d(vae().decode(vae().encode(large).mode()), 2),
    }


def figure(side: int) -> Image.Image:
    a, b = side // 4, side * 5 // 8
    return grid([[enlarge(y[..., a:b, a:b]) for y in versions(side).values()]])


def enlarge(pixels: Tensor) -> np.ndarray:
    return to_bytes(pixels.repeat_interleave(2, -1).repeat_interleave(2, -2))


def edges(pixels: Tensor) -> float:
    """The mean difference of neighbouring pixels: less where an image is blurred."""
    return (pixels.diff(dim=-1).abs().mean() + pixels.diff(dim=-2).abs().mean()).item()


def facts(side: int) -> list[str]:
    found = {name: y.clamp(-1, 1) for name, y in versions(side).items()}
    x = found["the photograph"]
    lines = ["| | edges, of the photograph's | PSNR |", "|---|---|---|"]
    for name, y in list(found.items())[1:]:
        decibels = psnr(to_unit_range(x), to_unit_range(y)).item()
        lines.append(f"| {name} | {edges(y) / edges(x):.0%} | {decibels:.1f} dB |")
    return lines
