"""Between two latents."""

import pytest
import torch
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.latents.interpolation import interpolate, lerp, slerp, walk
from support.tensors import near


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (3, 16, 2, 4, 4)])
@pytest.mark.parametrize("way", [slerp, lerp])
def test_both_ends(shape, way):
    a, b = randn(*shape), randn(*shape, seed=1)
    assert torch.allclose(way(a, b, 0.0), a, atol=1e-12) and torch.allclose(way(a, b, 1.0), b, atol=1e-12)


def test_the_circle_is_each_item_s_own():
    """A batch gives what its items give alone: core's interpolation of batches does not."""
    a, b = randn(3, 4, 8, 8), randn(3, 4, 8, 8, seed=1) * torch.tensor([1.0, 5.0, 0.1])[:, None, None, None]
    alone = torch.cat([slerp(a[i : i + 1], b[i : i + 1], 0.3) for i in range(3)])
    assert torch.allclose(slerp(a, b, 0.3), alone, atol=1e-14)


def test_length_and_angle():
    """Of two vectors of one length, t of the way is t of the angle and as long."""
    a, b = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    third = slerp(a, b, 1 / 3)
    assert torch.allclose(third, torch.tensor([[3**0.5 / 2, 0.5]]).double(), atol=1e-14)


def test_noise_stays_noise():
    a, b = randn(2, 4, 64, 64), randn(2, 4, 64, 64, seed=1)
    assert slerp(a, b, 0.5).std().item() == pytest.approx(1, abs=0.02)
    assert lerp(a, b, 0.5).std().item() == pytest.approx(0.5**0.5, abs=0.02)


def test_where_there_is_no_circle():
    a = randn(3, 4, 4, 4)
    b = torch.stack([2 * a[0], -a[1], torch.zeros(4, 4, 4).double()])
    found = slerp(a, b, 0.25)
    assert torch.isfinite(found).all()
    assert torch.allclose(found, lerp(a, b, 0.25), atol=1e-12)


def test_one_for_many():
    a, b = randn(1, 4, 4, 4), randn(3, 4, 4, 4, seed=1)
    for method in ("slerp", "lerp"):
        assert near(interpolate(a, b, 0.3, method), interpolate(a.repeat(3, 1, 1, 1), b, 0.3, method)) < 1e-12
    for wrong in (randn(2, 4, 4, 4), randn(1, 8, 4, 4), randn(1, 4, 4, 5), randn(1, 4, 1, 4, 4)):
        with pytest.raises(BadRequest, match=r"cannot be interpolated: they need the same channels and size"):
            interpolate(wrong, b, 0.5)
    with pytest.raises(BadRequest, match="there is no interpolation 'cubic': choose slerp or lerp"):
        interpolate(a, b, 0.5, "cubic")


def test_a_walk():
    a, b = randn(2, 4, 4, 4), randn(2, 4, 4, 4, seed=1)
    found = walk(a, b, 5)
    assert found.shape == (10, 4, 4, 4)
    for item in range(2):
        steps = found[5 * item : 5 * item + 5]
        assert torch.allclose(steps[0], a[item], atol=1e-12) and torch.allclose(steps[4], b[item], atol=1e-12)
        assert torch.allclose(steps[1:2], slerp(a[item : item + 1], b[item : item + 1], 0.25), atol=1e-14)
    assert torch.allclose(walk(a, b, 1), a)
