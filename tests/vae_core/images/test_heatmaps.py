import pytest
import torch
from exact_vae.vae_core.images.heatmaps import channel_grid, heat_map


def test_heat_goes_from_black_over_red_to_white():
    a = torch.zeros(1, 3, 1, 4)
    b = torch.tensor([0.0, 0.05, 0.1, 1.0]).expand(1, 3, 1, 4)
    colours = heat_map(a, b, white=0.15)[0, :, 0].T.tolist()
    assert colours[0] == [0, 0, 0]
    assert colours[1] == pytest.approx([1, 0, 0], abs=1e-6)
    assert colours[2] == pytest.approx([1, 1, 0], abs=1e-6)
    assert colours[3] == [1, 1, 1]


@pytest.mark.parametrize(
    ("channels", "size", "grid"), [(4, (8, 8), (2, 2)), (4, (8, 32), (4, 1)), (3, (8, 8), (2, 2)), (16, (5, 7), (4, 4))]
)
def test_channels_lie_in_a_grid(channels, size, grid):
    view = channel_grid(torch.randn(2, channels, *size), scale=3, gap=2)
    expected = [n * 3 * side + 2 * (n - 1) for n, side in zip(grid, size, strict=True)]
    assert view.shape == (2, 3, *expected)
    assert view.min() >= 0 and view.max() <= 1


def test_each_channel_has_its_own_grey():
    z = torch.randn(1, 2, 6, 6)
    z[:, 1] = z[:, 0] * 100 + 5
    view = channel_grid(z, gap=0)
    assert torch.allclose(view[..., :6], view[..., 6:], atol=1e-5)


def test_a_flat_channel_is_grey():
    assert (channel_grid(torch.full((1, 1, 4, 4), 7.0)) == 0.5).all()
