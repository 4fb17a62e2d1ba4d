"""What a user brings to the README's first command: a photograph and a VAE. `--compare A B` looks at what came of it.

With real weights beside the project the VAE is TAEF2 on its author's photograph; without, random weights on a gradient.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

WEIGHTS = Path(__file__).parents[2] / "shared" / "weights"
HEADER = Path(__file__).parents[1] / "tests" / "headers" / "taesd.comfy.json"


def prepare() -> None:
    if WEIGHTS.is_dir():
        image = load_file(WEIGHTS / "taef2_reference.safetensors")["image_u8"].numpy()[:251, :301]
        halves = {half: torch.load(WEIGHTS / f"taef2_{half}.pth", weights_only=True) for half in ("encoder", "decoder")}
        weights = {f"taesd_{half}.{name}": t for half, part in halves.items() for name, t in part.items()}
    else:
        import json

        image = np.linspace(0, 255, 251 * 301 * 3).reshape(251, 301, 3).astype(np.uint8)
        shapes = json.loads(HEADER.read_text())["shapes"]
        weights = {name: torch.randn(shape) * 0.05 for name, shape in shapes.items()}
    Image.fromarray(image).save("photo.png")
    save_file(weights, "vae.safetensors")


def compare(first: str, second: str) -> None:
    a, b = (np.asarray(Image.open(path)).astype(float) for path in (first, second))
    if a.shape != b.shape:
        raise SystemExit(f"{first} is {a.shape}, {second} is {b.shape}")
    psnr = 10 * np.log10(255**2 / ((a - b) ** 2).mean())
    print(f"{second}: {a.shape[1]}x{a.shape[0]}, {psnr:.1f} dB")
    if WEIGHTS.is_dir() and psnr < 30:
        raise SystemExit("the copy is not the photograph")


if __name__ == "__main__":
    compare(*sys.argv[2:]) if sys.argv[1:2] == ["--compare"] else prepare()
