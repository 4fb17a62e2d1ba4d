"""A VAE and a posterior are copied and pickled like other objects, and give the same bits afterwards."""

import copy
import pickle

import pytest
import torch
from exact_vae.vae_core import SPACES, BadRequest, LatentMismatch, Posterior, convert, from_weights, load
from safetensors.torch import save_file
from support.random_networks import random_weights, small_kl

WEIGHTS = random_weights("kl", small_kl())


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


WAYS = {
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("copies") / "small.safetensors"
    save_file(WEIGHTS, path)
    return path


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mapped", [True, False])
def test_a_vae(file, way, mapped):
    vae = load(file, mapped=mapped)
    pixels = noise(1, 3, 17, 24).clamp(-1, 1)
    posterior = vae.encode(pixels)
    twin = WAYS[way](vae)
    assert repr(twin) == repr(vae) and twin.fingerprint == vae.fingerprint
    assert torch.equal(twin.encode(pixels).mean, posterior.mean)
    assert torch.equal(twin.decode(posterior.mode(), rows=16), vae.decode(posterior.mode(), rows=16))


@pytest.mark.parametrize("way", ["deep copy", "pickle"])
def test_a_copy_is_moved_alone(file, way):
    vae = load(file)
    twin = WAYS[way](vae).double()
    assert (twin.dtype, vae.dtype) == (torch.float64, torch.float32)


@pytest.mark.parametrize("way", WAYS)
def test_a_posterior(way):
    posterior = from_weights(WEIGHTS).encode(noise(1, 3, 17, 24).clamp(-1, 1))
    twin = WAYS[way](posterior)
    assert repr(twin) == repr(posterior) and twin.size == (17, 24)
    samples = [one.sample(torch.Generator().manual_seed(1)) for one in (posterior, twin)]
    assert torch.equal(*samples)


def test_a_posterior_says_what_it_is():
    of_image = Posterior.of_moments(torch.zeros(1, 8, 2, 3), size=(15, 24))
    assert repr(of_image) == "Posterior(a Gaussian: (1, 4, 2, 3) of an image of 24x15; float32 on cpu)"
    point = Posterior.of_point(torch.zeros(2, 4, 3, 3, dtype=torch.float64))
    assert repr(point) == "Posterior(a point: (2, 4, 3, 3); float64 on cpu)"


@pytest.mark.parametrize("space", ["sd1", "sdxl"])
def test_scaled_latents_are_those_of_the_space(space):
    vae = from_weights(WEIGHTS)
    vae.latent_space = space
    z = noise(2, 4, 3, 5)
    assert torch.equal(vae.scale(z), convert(z, SPACES[space], "raw", "scaled"))
    assert torch.allclose(vae.scale(z), z * SPACES[space].scale)
    assert torch.allclose(vae.unscale(vae.scale(z)), z, atol=1e-6)


def test_what_cannot_be_scaled():
    vae = from_weights(WEIGHTS)
    with pytest.raises(BadRequest, match=r"set vae\.latent_space to one of .*sdxl"):
        vae.scale(torch.zeros(1, 4, 2, 2))
    with pytest.raises(BadRequest, match="not known whose latents"):
        vae.unscale([1, 2])
    vae.latent_space = "flux1"
    with pytest.raises(LatentMismatch):
        vae.scale(torch.zeros(1, 4, 2, 2))
