"""Mochi's autoencoder against diffusers' own, random weights, float64; clips in parts against clips at once."""

import math

import diffusers
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_mochi import FourierFeatures
from exact_vae.vae_core import detect, from_weights
from exact_vae.vae_core.checkpoints.saving import weights_as
from exact_vae.vae_core.families import mochi
from exact_vae.vae_core.families.registry import expected_shapes
from support.diffusers_networks import DIFFUSERS
from support.headers import header
from support.random_networks import shake
from support.small_networks import SMALL
from support.tensors import clip, moments, near

EXACT = 1e-9


@pytest.fixture(autouse=True)
def exact_features(monkeypatch):
    """diffusers computes them in fp32 whatever it is given; its rounding would hide ours."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        angles = torch.stack([x * 2**power * 2 * math.pi for power in range(self.start, self.stop)], 2).flatten(1, 2)
        return torch.cat([x, angles.sin(), angles.cos()], 1)

    monkeypatch.setattr(FourierFeatures, "forward", features)


@pytest.fixture(scope="module")
def known():
    torch.manual_seed(0)
    name, settings = DIFFUSERS["mochi"]
    return shake(getattr(diffusers, name)(**settings))


@pytest.mark.parametrize("frames", [1, 7, 19])
@torch.no_grad()
def test_equals_diffusers(known, frames):
    ours = from_weights(known.state_dict())
    assert (ours.family, ours.spatial_ratio, ours.temporal_ratio) == ("mochi", 8, 6)
    x, z = clip(3, frames, 16, 24), 2 * clip(4, 1 + frames // 6, 2, 3)
    want, got = known.encode(x).latent_dist, ours.encode(x)
    assert near(got.mode(), want.mean) < EXACT
    assert frames == 1 or near(moments(got), torch.cat([want.mean, want.logvar], 1)) < EXACT
    assert near(ours.decode(z), known.decode(z).sample) < EXACT


@torch.no_grad()
def test_images_are_clips_of_one_frame(known):
    ours = from_weights(known.state_dict())
    x, z = clip(3, 1, 16, 24), 2 * clip(4, 1, 2, 3)
    assert near(ours.encode(x[:, :, 0]).mode(), known.encode(x).latent_dist.mean[:, :, 0]) < EXACT
    assert near(ours.decode(z[:, :, 0]), known.decode(z).sample[:, :, 0]) < EXACT


@pytest.mark.parametrize(
    "how", [{"rows": 1000}, {"rows": 8}, {"rows": 3, "keep": "disk"}], ids=["whole", "bands", "disk"]
)
@torch.no_grad()
def test_parts_and_bands_are_the_clip_at_once(known, how):
    ours = from_weights(known.state_dict())
    x, z = clip(3, 13, 16, 16)[:1], 2 * clip(4, 3, 2, 2)[:1]
    assert ours.plan("encode", x.shape, **how).frames == 1
    assert near(ours.encode(x, **how).mode(), known.encode(x).latent_dist.mean) < EXACT
    assert near(ours.decode(z, **how), known.decode(z).sample) < EXACT


@torch.no_grad()
def test_queries_keys_and_values_in_one_or_apart(known):
    """Genmo's file has them in one tensor: the same numbers, and each can be written as the other."""
    apart = from_weights(known.state_dict())
    joined = from_weights(weights_as(apart, "original"))
    assert (apart.config.joined, joined.config.joined) == (False, True)
    x = clip(3, 7, 16, 16)
    assert near(joined.encode(x).mode(), apart.encode(x).mode()) < 1e-12
    again = weights_as(joined, "diffusers")
    assert all(torch.equal(t, known.state_dict()[name]) for name, t in again.items())


def test_the_config_is_in_the_shapes():
    family, config = SMALL["mochi"]
    assert mochi.detect(expected_shapes(family, config)) == config


@pytest.mark.parametrize("name", ["mochi.comfy", "mochi.diffusers", "mochi.original-decoder"])
def test_the_published_files(name):
    found = detect(header(name)["shapes"])
    assert found.is_whole and found.config.decoder == mochi.FAMILY.example.decoder
    assert found.config.encoder == (None if "decoder" in name else mochi.FAMILY.example.encoder)
    assert found.title == "Mochi's autoencoder, 12 channels at 1/8: Mochi 1"
