"""Convolutions over three frames, two frames of the result at a time, beside torch's own."""

import pytest
import torch
from exact_vae.vae_core.ops import clip_conv
from exact_vae.vae_core.ops.conv3d import Conv3d
from torch.nn import functional as F

WIDTH, SIDE = clip_conv.CHANNELS, 24


def make(**how) -> Conv3d:
    torch.manual_seed(1)
    return Conv3d(WIDTH, WIDTH, **how).double().requires_grad_(False)


def clip(frames: int) -> torch.Tensor:
    return torch.randn(frames, WIDTH, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(frames))


def directly(conv: Conv3d, x: torch.Tensor) -> torch.Tensor:
    return F.conv3d(x.transpose(0, 1)[None], conv.weight, conv.bias, padding=(conv.around, 1, 1))[0].transpose(0, 1)


@pytest.mark.parametrize("frames", [4, 5, 6, 9])
@pytest.mark.parametrize("how", [{}, {"bias": False}, {"around": True}])
@torch.no_grad()
def test_pairs_of_frames_are_what_the_convolution_makes(frames, how):
    conv, x = make(**how), clip(frames)
    assert clip_conv.suits_pairs(conv, F.pad(x, (0,) * 6 + (conv.around,) * 2))
    torch.testing.assert_close(conv(x), directly(conv, x), rtol=0, atol=1e-13)


@torch.no_grad()
def test_what_is_read_and_the_weights_stay_as_they_are():
    conv, x = make(), clip(6)
    before, weight = x.clone(), conv.weight.clone()
    conv(x)
    assert torch.equal(x, before) and torch.equal(conv.weight, weight)


@torch.no_grad()
def test_a_band_of_rows_is_as_good():
    conv, x = make(), clip(6)
    band = conv.apply_unpadded(x[..., 3:21, :])
    torch.testing.assert_close(band, directly(conv, x)[..., 4:20, :], rtol=0, atol=1e-13)


@torch.no_grad()
def test_rounding_is_about_that_of_the_taps(monkeypatch):
    """In fp32 1.25 times, in each of five drawings: sums and differences are rounded once more."""
    conv, x = make(), clip(9)
    exact, single = directly(conv, x), make().float()
    pairs = (single(x.float()) - exact).norm()
    monkeypatch.setattr(clip_conv, "PIXELS", 2**40)
    assert not clip_conv.suits_pairs(single, x)
    assert pairs < 3 * (single(x.float()) - exact).norm()


def test_gradients_are_recorded_tap_by_tap():
    conv, x = make(), clip(4).requires_grad_()
    assert not clip_conv.suits_pairs(conv, x)
    conv(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("kernel", [1, (1, 3, 3), (3, 1, 1), (5, 3, 3)])
@torch.no_grad()
def test_kernels_of_any_length(kernel):
    torch.manual_seed(2)
    conv = Conv3d(WIDTH, WIDTH, kernel).double()
    x = clip(9)
    expected = F.conv3d(x.transpose(0, 1)[None], conv.weight, conv.bias, padding=(0, *conv.rows[:1] * 2))[0]
    torch.testing.assert_close(conv(x), expected.transpose(0, 1), rtol=0, atol=1e-13)
