"""Masks and what is put together under them."""

import pytest
import torch
from exact_vae.vae_core.images import masks
from exact_vae.vae_core.images.compositing import composite, match_colours


def square(h=20, w=24, top=6, bottom=14, left=5, right=17):
    mask = torch.zeros(1, 1, h, w)
    mask[..., top:bottom, left:right] = 1
    return mask


@pytest.mark.parametrize("by", [0, 1, 2, 3, 6, 7])
def test_grown_as_a_square_kernel_grows_it(by):
    """A box of `by` pixels over the mask: what it touches at all. Its middle is right of the middle if it is even."""
    found = masks.grow(square(), by)
    n = max(by, 1)
    ones = torch.ones(1, 1, n, n)
    summed = torch.nn.functional.conv2d(square(), ones, padding=n // 2)[..., :20, :24]
    assert torch.equal(found, summed.clamp(0, 1))
    assert found.sum() == (8 + n - 1) * (12 + n - 1)


def test_cells_are_those_that_the_mask_touches():
    found = masks.cover_cells(square(), 4)
    assert torch.equal(found, square(top=4, bottom=16, left=4, right=20))


@pytest.mark.parametrize("width", [0, 1, 3, 50])
def test_a_feather_stays_within_the_mask_and_reaches_1(width):
    thin = square(top=9, bottom=10)
    for mask in (square(), thin):
        found = masks.feather(mask, width)
        assert torch.equal(found > 0, mask > 0)
        assert found.amax() == 1 and (found <= 1).all()
    edge = masks.feather(square(left=0), 3)
    assert edge[0, 0, 10, 0] == 1  # the image's edge is none of the mask's


def test_outside_of_the_mask_is_the_original_to_the_bit():
    original, new = torch.rand(1, 3, 20, 24), torch.rand(1, 3, 20, 24)
    weight = masks.feather(square(), 3)
    found = composite(original, new, weight)
    assert torch.equal(found[:, :, square()[0, 0] == 0], original[:, :, square()[0, 0] == 0])
    assert torch.allclose(found, original + (new - original) * weight)


def test_a_shift_is_carried_on_into_the_mask():
    """A slope of colour, known outside of the mask, is continued across it."""
    original = torch.rand(1, 3, 256, 256)
    shift = torch.linspace(-0.2, 0.2, 256).expand(1, 3, 256, 256)
    mask = square(256, 256, 96, 160, 96, 160)
    inside = mask[0, 0] > 0
    left = (match_colours(original - shift, original, mask) - original)[:, :, inside]
    assert left.abs().mean() < 0.02 and left.mean().abs() < 2e-3
    everything = torch.ones(1, 1, 256, 256)
    assert torch.equal(match_colours(original - shift, original, everything), original - shift)
