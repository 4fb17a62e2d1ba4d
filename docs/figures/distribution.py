"""An image, the Gaussian its encoder describes for every latent value, and one sample of it.

Above: the image; the means of the 4 channels (black -3, white 3). Middle: decoded from the mean; the standard
deviations (black 0, white 0.5). Below: decoded from a sample; the sample (black -3, white 3).
"""

import torch
from common import HERON, grey, grid, square, to_bytes, vae
from PIL import Image


def figure(side: int) -> Image.Image:
    x = square(HERON, side)
    posterior = vae().encode(x)
    sample = posterior.sample(torch.Generator().manual_seed(0))
    maps = ((posterior.mean, -3, 3), (posterior.std, 0, 0.5), (sample, -3, 3))
    images = (x, vae().decode(posterior.mode()), vae().decode(sample))
    return grid([
        [to_bytes(image), *(grey(plane, low, high, side) for plane in planes[0])]
        for image, (planes, low, high) in zip(images, maps, strict=True)
    ])  # fmt: skip


def facts(side: int) -> list[str]:
    posterior = vae().encode(square(HERON, side))
    lines = ["| channel | spread of the means | median standard deviation |", "|---|---|---|"]
    for n, (mean, std) in enumerate(zip(posterior.mean[0], posterior.std[0], strict=True)):
        lines.append(f"| {n} | {mean.std():.2f} | {std.median():.3f} |")
    return lines
