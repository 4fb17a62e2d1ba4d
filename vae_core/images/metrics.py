"""How close two images are. Images are (B, C, H, W) in [0, 1]; results are (B,), float64.

All raise BadPixels for images of different shapes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..devices.cards import to_float64
from ..devices.numerics import pin_numerics
from ..errors import BadPixels

# SSIM: side of the window in pixels, its standard deviation, and the constants C1 and C2; all from the paper.
WINDOW = 11
SIGMA = 1.5
STABILITY = (0.01**2, 0.03**2)


@pin_numerics()
def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal to noise ratio in decibels, 10 log10(1 / mean squared error); infinite for equal images.

    a, b: (B, C, H, W) in [0, 1], any dtype. Returns (B,), float64. Raises BadPixels for different shapes.
    """
    a, b = _demand_pair(a, b)
    return -10 * (a - b).square().flatten(1).mean(1).log10()


@pin_numerics()
def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity: 1 for equal images. The mean over channels and over all windows inside the image.

    Wang, Bovik, Sheikh & Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity":
    Gaussian windows of 11 x 11 pixels and sigma 1.5; an image smaller than that is one window.
    a, b: (B, C, H, W) in [0, 1], any dtype. Returns (B,), float64. Raises BadPixels for different shapes.
    """
    a, b = _demand_pair(a, b)
    mean_a, mean_b, aa, bb, ab = map(_blur, (a, b, a * a, b * b, a * b))
    c1, c2 = STABILITY
    var_a, var_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return (luminance * structure).flatten(1).mean(1)


@pin_numerics()
def colour_shift(a: Tensor, b: Tensor) -> Tensor:
    """The largest difference between the mean values of a channel; 0.005 is half a percent of the full range.

    a, b: (B, C, H, W) in [0, 1], any dtype. Returns (B,), float64. Raises BadPixels for different shapes.
    """
    a, b = _demand_pair(a, b)
    return (a - b).flatten(2).mean(2).abs().amax(1)


def _demand_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape or a.ndim != 4:
        raise BadPixels(f"images to compare need one shape (B, C, H, W); these have {(*a.shape,)} and {(*b.shape,)}.")
    return to_float64(a), to_float64(b)


def _blur(x: Tensor) -> Tensor:
    """Gaussian weighted means at every place where the window fits: (B, C, H, W) -> (B, C, H - 10, W - 10)"""
    channels = x.shape[1]
    for dim in (-2, -1):
        taps = _gaussian_taps(min(WINDOW, x.shape[dim])).to(x)
        shape = (channels, 1, len(taps), 1) if dim == -2 else (channels, 1, 1, len(taps))
        x = F.conv2d(x, taps.reshape(1, 1, *shape[2:]).expand(shape), groups=channels)
    return x


def _gaussian_taps(n: int) -> Tensor:
    """(n,) weights of a Gaussian, with sum 1."""
    at = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    weights = (-0.5 * (at / SIGMA) ** 2).exp()
    return weights / weights.sum()
