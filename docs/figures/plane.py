"""Two of the four channels as a plane, from -9 to 9 both ways: where the latents of two photographs lie.

Every dot is a pixel of a latent in the mean colour of its 8 x 8 pixels, the disc where 99 % of the prior lies. Right:
what a flat patch of every such latent decodes to (the other channels 0). Above: the built-in VAE; below: the twin.
"""

import numpy as np
import torch
from common import CHELSEA, HERON, grid, square, twin, vae
from exact_vae.vae_core import VAE
from exact_vae.vae_core.images import to_levels, to_unit_range
from PIL import Image

REACH, RADIUS = 9.0, 3.035  # of the plane; of the disc: sqrt(-2 log 0.01), of a Gaussian in two dimensions
PAPER, DISC = 255, 222
PATCH, TILES = 4, 12  # latent pixels of a patch each way, patches each way


def figure(side: int) -> Image.Image:
    return grid([[dots(network, side), patches(network, side)] for network in (vae(), twin())])


def dots(network: VAE, side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side] * (2 * REACH / (side - 1)) - REACH
    sheet = np.where(np.hypot(x, y) < RADIUS, DISC, PAPER).astype(np.uint8)[..., None].repeat(3, -1)
    radius = max(0, side // 256)
    for path in (HERON, CHELSEA):
        pixels = square(path, 256)
        colours = torch.nn.functional.avg_pool2d((pixels + 1) * 127.5, 8).flatten(2)[0].T.byte().numpy()
        places = network.encode(pixels).mean[0, :2].flatten(1).T.numpy()
        columns, rows = ((places * (1, -1) + REACH) / (2 * REACH) * (side - 1)).round().astype(int).T
        for column, row, colour in zip(columns, rows, colours, strict=True):
            if 0 <= column < side and 0 <= row < side:
                sheet[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1] = colour
    return sheet


def patches(network: VAE, side: int) -> np.ndarray:
    along = torch.linspace(-REACH, REACH, TILES)
    z = torch.zeros(TILES * TILES, 4, PATCH, PATCH)
    z[:, 0] = along.repeat(TILES)[:, None, None]
    z[:, 1] = -along.repeat_interleave(TILES)[:, None, None]
    colours = to_levels(to_unit_range(network.decode(z)[..., 8:-8, 8:-8].mean((2, 3))))
    tiles = Image.fromarray(colours.reshape(TILES, TILES, 3).numpy())
    return np.asarray(tiles.resize((side, side), Image.Resampling.NEAREST))
