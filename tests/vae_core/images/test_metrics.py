"""PSNR and SSIM as scikit-image computes them; colour shift by hand."""

import math

import numpy as np
import pytest
import torch
from exact_vae.vae_core import BadPixels
from exact_vae.vae_core.images.metrics import colour_shift, psnr, ssim
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

SIZES = [(40, 33), (11, 64), (128, 96)]


def pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height)
    a = torch.rand((2, 3, height, width), generator=generator, dtype=torch.float64)
    return a, (a + 0.1 * torch.randn(a.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)


def arrays(a: torch.Tensor) -> list[np.ndarray]:
    return [one.numpy() for one in a]


@pytest.mark.parametrize("size", SIZES)
def test_psnr_is_that_of_scikit_image(size):
    a, b = pair(*size)
    expected = [peak_signal_noise_ratio(x, y, data_range=1) for x, y in zip(arrays(a), arrays(b), strict=True)]
    assert psnr(a, b).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_ssim_is_that_of_scikit_image(size):
    a, b = pair(*size)
    options = {"data_range": 1, "channel_axis": 0, "gaussian_weights": True, "use_sample_covariance": False}
    expected = [structural_similarity(x, y, **options) for x, y in zip(arrays(a), arrays(b), strict=True)]
    assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-12)


def test_equal_images():
    a, _ = pair(20, 20)
    assert psnr(a, a).tolist() == [math.inf, math.inf]
    assert ssim(a, a).tolist() == pytest.approx([1, 1])
    assert colour_shift(a, a).tolist() == [0, 0]


def test_an_image_smaller_than_the_window():
    a, b = pair(3, 5)
    assert -1 <= ssim(a, b)[0] < 1


def test_the_shift_is_of_the_channel_that_moved_most():
    a = torch.zeros(1, 3, 4, 4)
    b = a.clone()
    b[:, 0, 0] = 0.04
    b[:, 2] = -0.02
    assert colour_shift(a, b).tolist() == pytest.approx([0.02])


def test_images_of_two_shapes_are_no_pair():
    with pytest.raises(BadPixels, match="one shape"):
        psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))
