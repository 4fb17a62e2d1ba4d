"""Group norms by their statistics, as a GPU runs them whole and every device runs them in bands."""

import copy

import pytest
import torch
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.execution.bands.moments import Moments, normalize_whole
from exact_vae.vae_core.ops import GroupNormOverFrames
from torch import nn


@pytest.mark.parametrize("images", (1, 3))
@pytest.mark.parametrize("kind", (nn.GroupNorm, GroupNormOverFrames))
@torch.no_grad()
def test_of_whole_images_it_is_torch_s_group_norm(kind, images):
    """To rounding in float64; and it keeps channels last, also of one image."""
    x = torch.randn(images, 12, 7, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last) + 3
    norm = kind(3, 12).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    y = normalize_whole(norm, x)
    assert (y - norm(x)).abs().max() < 1e-12
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_moments_of_a_clip_are_those_of_its_frames_together():
    x = torch.randn(4, 6, 5, 3, dtype=torch.float64)
    one, pooled = Moments.of_clip(x), Moments.of(x).pool_frames()
    assert one.n == pooled.n == 4 * 5 * 3
    assert torch.allclose(one.mean, pooled.mean) and torch.allclose(one.squares, pooled.squares)
    assert torch.allclose(one.squares / one.n, x.transpose(0, 1).flatten(1).var(1, unbiased=False))


def test_moments_in_half_precision_are_gathered_in_fp32():
    x = torch.randn(1, 4, 64, 64).bfloat16() + 50
    moments = Moments.of(x)
    assert moments.mean.dtype is torch.float32
    assert torch.allclose(moments.mean, x.double().mean((0, 2, 3)).float()[None], rtol=1e-5)


@torch.no_grad()
def test_a_whole_image_is_as_exact_as_its_bands():
    """Of many numbers too, far from zero: a group norm in fp32 is within some roundings of what float64 gives.

    Numbers are around 4, so what is read is rounded by 2^-22, and a band's mean of 4096 by a part of that. Torch's own
    group norm adds up 2^19 numbers one after the other, and was 1e-3 off.
    """
    x = torch.randn(1, 8, 1024, 512, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last) + 4
    norm = nn.GroupNorm(8, 8)
    exact = copy.deepcopy(norm).double()(x.double())
    assert (normalize_whole(norm, x) - exact).abs().max() < 8 * 2**-22
    assert (whole.run((norm,), x.clone(), in_place=True) - exact).abs().max() < 8 * 2**-22
