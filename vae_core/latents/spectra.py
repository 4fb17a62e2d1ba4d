"""Noise that is not white: coloured, Perlin's, and in pyramids. All of it from white noise, drawn from one stream.

But for white, every plane (one channel of one frame of one item) has mean 0 and variance 1 exactly, so that a sampler
which counts on unit variance can be given any of them.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadRequest

Normal = Callable[[tuple[int, ...]], Tensor]  # shape -> the next white noise of a stream, float32

WHITE, PERLIN, PYRAMID = "white", "perlin", "pyramid"
# Power of a spatial frequency f, in cycles per latent pixel: f to this power.
POWERS = {WHITE: 0, "pink": -1, "brown": -2, "blue": 1, "violet": 2}
SPECTRA = (*POWERS, PERLIN, PYRAMID)
PERSISTENCE = 0.5  # of Perlin's noise: how much weaker each octave is than the one of twice its size
DISCOUNT = 0.8  # of pyramids: how much weaker each coarser level is; Whitaker's examples use 0.7 to 0.9


def draw(spectrum: str, normal: Normal, shape: tuple[int, ...]) -> Tensor:
    """One item of noise, (C, h, w) or (C, T, h, w), float32. Frames are drawn independently.

    Raises BadRequest for a spectrum there is none of.
    """
    if spectrum not in SPECTRA:
        raise BadRequest(f"there is no noise '{spectrum}': choose one of {', '.join(SPECTRA)}.")
    h, w = shape[-2:]
    if spectrum == WHITE or h * w == 1:  # a single pixel has no neighbour to differ from
        return normal(shape)
    planes = (math.prod(shape[:-2]), h, w)
    if spectrum == PERLIN:
        noise = _perlin(normal, *planes)
    elif spectrum == PYRAMID:
        noise = _pyramid(normal, *planes)
    else:
        noise = shape_spectrum(normal(planes), POWERS[spectrum])
    return standardise(noise).reshape(shape)


def shape_spectrum(white: Tensor, power: float) -> Tensor:
    """white (..., h, w) -> noise whose power falls or grows with frequency as f ** power; without a mean."""
    h, w = white.shape[-2:]
    f = torch.hypot(torch.fft.fftfreq(h)[:, None], torch.fft.rfftfreq(w)[None])
    gain = f.clamp(min=torch.finfo(f.dtype).tiny) ** (power / 2)
    gain[0, 0] = 0
    return torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=(h, w))


def standardise(noise: Tensor) -> Tensor:
    """Mean 0 and variance 1 in each plane."""
    noise = noise.double()
    noise = noise - noise.mean((-2, -1), keepdim=True)
    return (noise / noise.std((-2, -1), keepdim=True, correction=0)).float()


def _perlin(normal: Normal, planes: int, h: int, w: int) -> Tensor:
    """Octaves of gradient noise, from half the image down to two pixels. Perlin 2002, "Improving noise"."""
    octaves = max(1, int(math.log2(max(h, w))) - 1)
    parts = (_gradients(normal, planes, h, w, 2.0**i) * PERSISTENCE ** (octaves - i) for i in range(1, octaves + 1))
    return torch.stack(list(parts)).sum(0)


def _gradients(normal: Normal, planes: int, h: int, w: int, spacing: float) -> Tensor:
    """Slopes in random directions at the points of a lattice, faded into one another. (planes, h, w)"""
    slopes = normal((2, planes, math.ceil(h / spacing) + 1, math.ceil(w / spacing) + 1))
    slopes = slopes / torch.hypot(slopes[0], slopes[1])
    # Pixels are met at their centres: on the lattice itself this noise is always 0.
    y, x = ((torch.arange(n) + 0.5) / spacing for n in (h, w))
    row, column = y.long(), x.long()
    down, across = (y - row)[:, None], (x - column)[None]
    total = torch.zeros(planes, h, w)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        corner = slopes[:, :, row + i][:, :, :, column + j]
        total += (corner[0] * (down - i) + corner[1] * (across - j)) * _fade(down, i) * _fade(across, j)
    return total


def _fade(at: Tensor, corner: int) -> Tensor:
    fade = at**3 * (at * (at * 6 - 15) + 10)
    return fade if corner else 1 - fade


def _pyramid(normal: Normal, planes: int, h: int, w: int) -> Tensor:
    """White noise of every size, enlarged and added. Whitaker 2023, "Multi-resolution noise for diffusion model
    training" (wandb.ai/johnowhitaker/multires_noise); here each level has half the side of the one before."""
    total, level = normal((planes, h, w)), 1
    while min(h, w) >> level:
        size = (-(-h >> level), -(-w >> level))
        coarse = F.interpolate(normal((planes, *size))[None], (h, w), mode="bilinear", align_corners=False)[0]
        total, level = total + coarse * DISCOUNT**level, level + 1
    return total
