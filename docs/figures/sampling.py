"""One photograph decoded from the mode and from samples: z = mean + k * std * noise, for k = 0, 1, 2, 4, 8."""

from common import CHELSEA, grid, square, to_bytes, vae
from exact_vae.vae_core.images import psnr, to_unit_range
from exact_vae.vae_core.latents import Noise
from PIL import Image
from torch import Tensor

TIMES = (0, 1, 2, 4, 8)


def decode_all(side: int) -> list[Tensor]:
    posterior = vae().encode(square(CHELSEA, side))
    noise = Noise(1).draw(posterior.mean.shape)
    return [vae().decode(posterior.mean + k * posterior.std * noise) for k in TIMES]


def figure(side: int) -> Image.Image:
    return grid([[to_bytes(y) for y in decode_all(side)]])


def facts(side: int) -> list[str]:
    x, mode, *others = (to_unit_range(y.clamp(-1, 1)) for y in (square(CHELSEA, side), *decode_all(side)))
    lines = ["| k | PSNR against the photograph | against the mode's image |", "|---|---|---|"]
    lines.append(f"| 0, the mode | {psnr(x, mode).item():.1f} dB | |")
    for k, y in zip(TIMES[1:], others, strict=True):
        lines.append(f"| {k} | {psnr(x, y).item():.1f} dB | {psnr(mode, y).item():.1f} dB |")
    return lines
