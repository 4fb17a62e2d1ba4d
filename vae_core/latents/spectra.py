"""Noise that is not white: power laws (pink, brown, blue, violet), Perlin noise, pyramids. All is made of white noise.

White noise has variance 1 on average. All others have mean 0 and variance 1 exactly in every plane (one channel of one
frame of one item), because samplers count on unit variance.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadRequest

Normal = Callable[[tuple[int, ...]], Tensor]  # shape -> the next white noise of a stream, float32

WHITE, PERLIN, PYRAMID = "white", "perlin", "pyramid"
# The power spectrum is f to this exponent; f is the spatial frequency in cycles per latent pixel.
POWERS = {WHITE: 0, "pink": -1, "brown": -2, "blue": 1, "violet": 2}
SPECTRA = (*POWERS, PERLIN, PYRAMID)
PERSISTENCE = 0.5  # Perlin noise: amplitude of an octave relative to the one of twice its size
DISCOUNT = 0.8  # pyramid: amplitude of a level relative to the finer one; Whitaker's examples use 0.7 to 0.9


def draw(spectrum: str, normal: Normal, shape: tuple[int, ...]) -> Tensor:
    """Draw one item of noise. Frames are drawn independently.

    normal: gives the next white noise of a shape, float32
    shape: (C, h, w) or (C, T, h, w), which is also the shape of the result, float32
    Raises BadRequest for an unknown spectrum.
    """
    if spectrum not in SPECTRA:
        raise BadRequest(f"there is no spectrum '{spectrum}': choose one of {', '.join(SPECTRA)}.")
    h, w = shape[-2:]
    if spectrum == WHITE or h * w == 1:  # a single pixel has no neighbour to differ from
        return normal(shape)
    planes = (math.prod(shape[:-2]), h, w)
    if spectrum == PERLIN:
        noise = _draw_perlin(normal, *planes)
    elif spectrum == PYRAMID:
        noise = _draw_pyramid(normal, *planes)
    else:
        noise = shape_spectrum(normal(planes), POWERS[spectrum])
    return standardise(noise).reshape(shape)


def shape_spectrum(white: Tensor, power: float) -> Tensor:
    """Filter white noise (..., h, w), float32, so that its power spectrum is f ** power. Same shape, mean 0."""
    h, w = white.shape[-2:]
    down, across = torch.fft.fftfreq(h, dtype=torch.float32), torch.fft.rfftfreq(w, dtype=torch.float32)
    f = torch.hypot(down[:, None], across[None])
    gain = f.clamp(min=torch.finfo(f.dtype).tiny) ** (power / 2)
    gain[0, 0] = 0
    return torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=(h, w))


def standardise(noise: Tensor) -> Tensor:
    """Give each plane of (..., h, w) mean 0 and variance 1. Returns float32."""
    noise = noise.double()
    noise = noise - noise.mean((-2, -1), keepdim=True)
    return (noise / noise.std((-2, -1), keepdim=True, correction=0)).float()


def _draw_perlin(normal: Normal, planes: int, h: int, w: int) -> Tensor:
    """(planes, h, w): octaves of gradient noise, from half the image to two pixels. Perlin 2002, "Improving noise"."""
    octaves = max(1, int(math.log2(max(h, w))) - 1)
    parts = (
        _draw_gradients(normal, planes, h, w, 2.0**i) * PERSISTENCE ** (octaves - i) for i in range(1, octaves + 1)
    )
    return torch.stack(list(parts)).sum(0)


def _draw_gradients(normal: Normal, planes: int, h: int, w: int, spacing: float) -> Tensor:
    """(planes, h, w): slopes in random directions at the points of a lattice, interpolated between them."""
    slopes = normal((2, planes, math.ceil(h / spacing) + 1, math.ceil(w / spacing) + 1))
    slopes = slopes / torch.hypot(slopes[0], slopes[1])
    # Sampled at pixel centres, because gradient noise is always 0 on the lattice itself.
    y, x = ((torch.arange(n, dtype=torch.float32) + 0.5) / spacing for n in (h, w))
    row, column = y.long(), x.long()
    down, across = (y - row)[:, None], (x - column)[None]
    total = torch.zeros(planes, h, w, dtype=torch.float32)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        corner = slopes[:, :, row + i][:, :, :, column + j]
        total += (corner[0] * (down - i) + corner[1] * (across - j)) * _fade(down, i) * _fade(across, j)
    return total


def _fade(at: Tensor, corner: int) -> Tensor:
    """Weight of a corner of the cell, 0 or 1, at a place in [0, 1]: Perlin's quintic."""
    fade = at**3 * (at * (at * 6 - 15) + 10)
    return fade if corner else 1 - fade


def _draw_pyramid(normal: Normal, planes: int, h: int, w: int) -> Tensor:
    """(planes, h, w): the sum of white noise of every size, enlarged; each level has half the side of the one before.

    Whitaker 2023, "Multi-resolution noise for diffusion model training" (wandb.ai/johnowhitaker/multires_noise).
    """
    total = normal((planes, h, w))
    level = 1
    while min(h, w) >> level:
        size = (-(-h >> level), -(-w >> level))
        coarse = F.interpolate(normal((planes, *size))[None], (h, w), mode="bilinear", align_corners=False)[0]
        total = total + coarse * DISCOUNT**level
        level += 1
    return total
