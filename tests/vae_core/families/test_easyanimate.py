"""EasyAnimate's autoencoder against diffusers' own, random weights, float64; clips in parts against at once."""

import diffusers
import pytest
import torch
from exact_vae.vae_core import detect, from_weights
from exact_vae.vae_core.families import easyanimate
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
    name, settings = DIFFUSERS["easyanimate"]
    return shake(getattr(diffusers, name)(**settings))


@pytest.fixture(scope="module")
def ours(known):
    return from_weights(known.state_dict())


@pytest.mark.parametrize("frames", [1, 5, 9])
@torch.no_grad()
def test_equals_diffusers(known, ours, frames):
    """diffusers runs the first frame, then four at a time, which are two steps of this small network."""
    assert (ours.family, ours.spatial_ratio, ours.temporal_ratio) == ("easyanimate", 4, 2)
    x, z = clip(3, frames, 12, 16), 4 * clip(4, 1 + frames // 2, 3, 2)
    want, got = known.encode(x).latent_dist, ours.encode(x)
    assert near(got.mode(), want.mean) < EXACT
    assert frames == 1 or near(moments(got), torch.cat([want.mean, want.logvar], 1)) < EXACT
    assert near(ours.decode(z), known.decode(z).sample) < EXACT


@torch.no_grad()
def test_images_are_clips_of_one_frame(known, ours):
    x, z = clip(3, 1, 12, 16), 4 * clip(4, 1, 3, 2)
    assert near(ours.encode(x[:, :, 0]).mode(), known.encode(x).latent_dist.mean[:, :, 0]) < EXACT
    assert near(ours.decode(z[:, :, 0]), known.decode(z).sample[:, :, 0]) < EXACT


@pytest.mark.parametrize("how", [{"rows": 1000}, {"rows": 3, "keep": "disk"}], ids=["whole", "disk"])
@torch.no_grad()
def test_parts_and_bands_are_the_clip_at_once(known, ours, how):
    x, z = clip(3, 5, 12, 8)[:1], 4 * clip(4, 4, 3, 2)[:1]
    assert ours.plan("decode", z.shape, **how).frames == 1
    assert near(ours.encode(x, **how).mode(), known.encode(x).latent_dist.mean) < EXACT
    assert near(ours.decode(z, **how), known.decode(z).sample) < EXACT


@torch.no_grad()
def test_a_clip_of_any_length_is_continued(ours):
    x = clip(3, 4, 8, 8)[:1]
    longer = torch.cat([x, x[:, :, -1:]], 2)
    assert torch.equal(ours.encode(x).mode(), ours.encode(longer).mode())


def test_the_config_is_in_the_shapes():
    family, config = SMALL["easyanimate"]
    shapes = expected_shapes(family, config)
    assert easyanimate.detect(shapes) == config
    alone = {name: shape for name, shape in shapes.items() if name.startswith(("decoder.", "post_quant"))}
    assert easyanimate.detect(alone).parts == ("decoder",) and easyanimate.detect(alone).temporal_ratio == 2


def test_the_published_file():
    found = detect(header("easyanimate-magvit.diffusers")["shapes"])
    assert found.is_whole and found.config == easyanimate.FAMILY.example
    assert found.title == "EasyAnimate's autoencoder, 16 channels at 1/8: EasyAnimate"
