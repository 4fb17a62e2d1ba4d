"""Around a latent: noise added to it, as wide as 0, 1/8, 1/4, 1/2 and 1 times the spread of that latent's own values.

Above: the built-in VAE. Below: its twin trained without the KL term.
"""

from common import CHELSEA, grid, square, to_bytes, twin, vae
from exact_vae.vae_core import VAE
from exact_vae.vae_core.images import psnr, to_unit_range
from exact_vae.vae_core.latents import Noise
from PIL import Image
from torch import Tensor

SHARES = (0, 1 / 8, 1 / 4, 1 / 2, 1)


def decode_all(network: VAE, side: int) -> list[Tensor]:
    z = network.encode(square(CHELSEA, side)).mode()
    noise = Noise(2).draw(z.shape)
    return [network.decode(z + share * z.std() * noise) for share in SHARES]


def figure(side: int) -> Image.Image:
    return grid([[to_bytes(y) for y in decode_all(network, side)] for network in (vae(), twin())])


def facts(side: int) -> list[str]:
    lines = ["| noise, of the spread | built-in VAE | twin without KL |", "|---|---|---|"]
    ours, theirs = ([to_unit_range(y.clamp(-1, 1)) for y in decode_all(network, side)] for network in (vae(), twin()))
    for share, a, b in zip(SHARES[1:], ours[1:], theirs[1:], strict=True):
        lines.append(f"| {share:g} | {psnr(ours[0], a).item():.1f} dB | {psnr(theirs[0], b).item():.1f} dB |")
    return lines
