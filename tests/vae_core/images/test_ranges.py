"""Ranges of colours: pixels in [-1, 1], images in [0, 1], levels 0 to 255."""

import torch
from exact_vae.vae_core.images import to_levels, to_pixel_range, to_unit_range


def test_both_ways():
    pixels = torch.tensor([-1.0, -0.5, 0.0, 1.0, 1.5], dtype=torch.float64)
    assert torch.equal(to_unit_range(pixels), torch.tensor([0.0, 0.25, 0.5, 1.0, 1.25], dtype=torch.float64))
    assert torch.equal(to_pixel_range(to_unit_range(pixels)), pixels)


def test_every_level_is_met():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_levels(levels / 255), levels)
    assert to_levels(torch.tensor([-0.1, 0.501, 1.2])).tolist() == [0, 128, 255]
