"""Allegro's autoencoder against diffusers' own, random weights, float64."""

import diffusers
import pytest
import torch
from exact_vae.vae_core import detect, from_weights
from exact_vae.vae_core.families import allegro
from exact_vae.vae_core.families.registry import expected_shapes
from support.diffusers_networks import DIFFUSERS
from support.headers import header
from support.random_networks import shake
from support.small_networks import SMALL
from support.tensors import clip, moments, near

EXACT = 1e-9


@pytest.fixture(scope="module")
def known():
    torch.manual_seed(0)
    name, settings = DIFFUSERS["allegro"]
    return shake(getattr(diffusers, name)(**settings))


@pytest.fixture(scope="module")
def ours(known):
    return from_weights(known.state_dict())


def by_frame(op, x):
    """A convolution of images on each frame of (B, C, T, H, W)."""
    return op(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(x), -1)).transpose(1, 2)


@pytest.mark.parametrize("frames", [4, 6])
@torch.no_grad()
def test_equals_diffusers_networks(known, ours, frames):
    assert (ours.family, ours.spatial_ratio, ours.temporal_ratio) == ("allegro", 2, 2)
    x, z = clip(3, frames, 8, 12), 4 * clip(4, frames // 2, 4, 6)
    assert near(moments(ours.encode(x)), by_frame(known.quant_conv, known.encoder(x))) < EXACT
    assert near(ours.decode(z), known.decoder(by_frame(known.post_quant_conv, z))) < EXACT


@torch.no_grad()
def test_equals_diffusers_for_one_of_its_tiles(known, ours):
    """diffusers runs it in tiles only, of 24 frames here too; the sides are the small network's sample_size."""
    x, z = clip(3, 24, 16, 16)[:1], 4 * clip(4, 12, 8, 8)[:1]
    known.enable_tiling()
    assert near(ours.encode(x).mode(), known.encode(x).latent_dist.mean) < EXACT
    assert near(ours.decode(z), known.decode(z).sample.transpose(1, 2)) < EXACT  # it gives (B, T, C, H, W)


@torch.no_grad()
def test_an_image_is_a_clip_of_the_same_frames(known, ours):
    x, z = clip(3, 2, 8, 12)[:, :, :1], 4 * clip(4, 1, 4, 6)
    want = by_frame(known.quant_conv, known.encoder(x.expand(-1, -1, 2, -1, -1)))[:, :4, 0]
    assert near(ours.encode(x[:, :, 0]).mode(), want) < EXACT
    assert near(ours.decode(z[:, :, 0]), known.decoder(by_frame(known.post_quant_conv, z))[:, :, -1]) < EXACT
    assert not ours.clip_law.images_stay_apart


@pytest.mark.parametrize("how", [{"rows": 4}, {"rows": 3, "keep": "disk"}], ids=["bands", "disk"])
@torch.no_grad()
def test_bands_are_the_whole(ours, how):
    x, z = clip(3, 4, 10, 8)[:1], 4 * clip(4, 2, 5, 4)[:1]
    assert near(ours.encode(x, **how).mode(), ours.encode(x).mode()) < 1e-12
    assert near(ours.decode(z, **how), ours.decode(z)) < 1e-12


def test_the_config_is_in_the_shapes():
    family, config = SMALL["allegro"]
    shapes = expected_shapes(family, config)
    assert allegro.detect(shapes) == config
    alone = {name: shape for name, shape in shapes.items() if name.startswith(("decoder.", "post_quant"))}
    assert allegro.detect(alone).parts == ("decoder",) and allegro.detect(alone).temporal_ratio == 2


def test_the_published_file():
    found = detect(header("allegro.diffusers")["shapes"])
    assert found.is_whole and found.config == allegro.FAMILY.example
    assert found.title == "Allegro's autoencoder, 4 channels at 1/8: Allegro"
