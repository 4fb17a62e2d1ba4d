"""Noise that is the same on every machine."""

import pytest
import torch
from exact_vae.vae_core.noise import gaussian


@pytest.mark.parametrize("shape", [(3, 4, 8, 8), (2, 16, 3, 4, 4), (1, 64, 2, 2)])
def test_each_item_can_be_made_again_alone(shape):
    batch = gaussian(shape, 7)
    for i in range(shape[0]):
        assert torch.equal(batch[i], gaussian((1, *shape[1:]), 7 + i)[0])


def test_one_stream_is_torch_s_own():
    torch.manual_seed(5)
    assert torch.equal(gaussian((2, 4, 8, 8), 5, increment=False), torch.randn(2, 4, 8, 8))
    torch.manual_seed(5)
    assert torch.equal(gaussian((1, 4, 8, 8), 5), torch.randn(1, 4, 8, 8))


def test_it_is_gaussian():
    noise = gaussian((4, 4, 128, 128), 0)
    assert noise.mean(dim=(2, 3)).abs().max() < 0.03
    assert (noise.std(dim=(2, 3)) - 1).abs().max() < 0.03
    assert noise.dtype is torch.float32


def test_the_largest_seed_does_not_overflow():
    assert torch.equal(gaussian((2, 1, 2, 2), 2**64 - 1)[1], gaussian((1, 1, 2, 2), 0)[0])


def test_the_global_generator_is_left_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    gaussian((2, 4, 2, 2), 3)
    assert torch.equal(torch.get_rng_state(), state)
