"""SeedVR2's autoencoder against its authors' computation, random weights, float64; clips in parts against at once."""

import pytest
import torch
from exact_vae.vae_core import detect, from_weights
from exact_vae.vae_core.families import seedvr2
from exact_vae.vae_core.families.registry import expected_shapes
from support.headers import header
from support.random_networks import shake
from support.seedvr2_reference import SeedVR2
from support.small_networks import SMALL
from support.tensors import clip, moments, near

EXACT = 1e-9


@pytest.fixture(scope="module")
def known():
    torch.manual_seed(0)
    return shake(SeedVR2())


@pytest.mark.parametrize("frames", [1, 3, 7])
@torch.no_grad()
def test_equals_its_authors(known, frames):
    """By default a clip is run a latent frame at a time."""
    ours = from_weights(known.state_dict())
    assert (ours.family, ours.spatial_ratio, ours.temporal_ratio) == ("seedvr2", 4, 2)
    x = clip(3, frames, 12, 16)
    want, got = known.encoder(x), ours.encode(x)
    assert frames == 1 or near(moments(got), want) < EXACT
    assert near(got.mode(), want[:, :4] * 0.9152) < EXACT
    z = 4 * clip(4, 1 + frames // 2, 3, 2)
    assert near(ours.decode(z), known.decoder(z / 0.9152)) < EXACT


@torch.no_grad()
def test_images_are_clips_of_one_frame(known):
    ours = from_weights(known.state_dict())
    x, z = clip(3, 1, 12, 16), 4 * clip(4, 1, 3, 2)
    assert near(ours.encode(x[:, :, 0]).mode(), known.encoder(x)[:, :4, 0] * 0.9152) < EXACT
    assert near(ours.decode(z[:, :, 0]), known.decoder(z / 0.9152)[:, :, 0]) < EXACT


HOW = [{}, {"rows": 1000}, {"rows": 4}, {"rows": 3, "keep": "disk"}]


@pytest.mark.parametrize("how", HOW, ids=["", "whole", "bands", "disk"])
@torch.no_grad()
def test_parts_and_bands_are_the_clip_at_once(known, how):
    ours = from_weights(known.state_dict())
    x, z = clip(3, 7, 12, 8), 4 * clip(4, 4, 3, 2)
    assert not how or ours.plan("decode", z.shape, **how).frames == 1
    assert near(moments(ours.encode(x, **how)), known.encoder(x)) < EXACT
    assert near(ours.decode(z, **how), known.decoder(z / 0.9152)) < EXACT


def test_the_config_is_in_the_shapes():
    family, config = SMALL["seedvr2"]
    shapes = expected_shapes(family, config)
    assert seedvr2.detect(shapes) == config
    alone = {name: shape for name, shape in shapes.items() if name.startswith("decoder.")}
    assert seedvr2.detect(alone).parts == ("decoder",) and seedvr2.detect(alone).temporal_ratio == 2


def test_the_published_file():
    found = detect(header("seedvr2.comfy")["shapes"])
    assert found.is_whole and found.config == seedvr2.FAMILY.example
    assert found.title == "SeedVR2's autoencoder, 16 channels at 1/8: SeedVR2"
