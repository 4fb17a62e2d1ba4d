"""The first image of the README: python docs/tiles_image.py

The built-in VAE decodes one latent in blended tiles, and in bands of rows; beside each, what differs from the whole
run, ten times as strong, on grey. It prints the figures that stand below the image.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from exact_vae.vae_core import Tiles, load
from exact_vae.vae_core.images import psnr, to_unit_range
from PIL import Image
from torch import Tensor

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "figures"))
from common import HERON, grid, to_bytes  # noqa: E402

IMAGE = HERE / "images" / "tiled_and_exact.jpg"
SIZE, TILES, STRONGER = (704, 384), Tiles(256, 64), 10


def main() -> None:
    torch.set_num_threads(1)
    vae = load(dtype=torch.float32)
    with Image.open(HERON) as file:
        photograph = np.array(file.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS))
    latent = vae.encode(torch.from_numpy(photograph).movedim(-1, 0)[None] / 127.5 - 1).mode()
    whole = vae.decode(latent, rows=SIZE[1])
    found = {"in tiles": vae.decode(latent, tiles=TILES), "in bands": vae.decode(latent, rows=16)}
    for name, pixels in found.items():
        sys.stdout.write(f"{name}: {describe(whole, pixels)}\n")
    rows = [[to_bytes(one), to_bytes(((one - whole) * STRONGER).clamp(-1, 1))] for one in found.values()]
    grid(rows).save(IMAGE, "JPEG", quality=88, optimize=True)


def describe(whole: Tensor, pixels: Tensor) -> str:
    same, most = to_unit_range(whole.clamp(-1, 1)), (pixels - whole).abs().max() / 2 * 255
    return f"{psnr(same, to_unit_range(pixels.clamp(-1, 1))).item():.1f} dB, at most {most:.2g} levels of 255"


if __name__ == "__main__":
    main()
