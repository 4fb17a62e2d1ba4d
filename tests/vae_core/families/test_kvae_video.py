"""KVAE 3-D against diffusers' own, random weights, float64: defined by the parts it is run in."""

import diffusers
import pytest
import torch
from exact_vae.vae_core import detect, from_weights
from exact_vae.vae_core.families import kvae_video
from exact_vae.vae_core.families.registry import expected_shapes
from support.diffusers_networks import DIFFUSERS
from support.headers import header
from support.random_networks import shake
from support.small_networks import SMALL
from support.tensors import clip, near

EXACT = 1e-9


@pytest.fixture(scope="module")
def known():
    torch.manual_seed(0)
    name, settings = DIFFUSERS["kvae_video"]
    return shake(getattr(diffusers, name)(**settings))


@pytest.fixture(scope="module")
def ours(known):
    return from_weights(known.state_dict())


@pytest.mark.parametrize(("frames", "parts"), [(1, 1), (3, 1), (21, 2)])
@torch.no_grad()
def test_equals_diffusers(known, ours, frames, parts):
    """In parts of the first frame and sixteen, then of sixteen."""
    assert (ours.family, ours.spatial_ratio, ours.temporal_ratio) == ("kvae_video", 4, 2)
    x, z = clip(3, frames, 8, 12), 4 * clip(4, 1 + frames // 2, 2, 3)
    assert near(ours.encode(x).mode(), known.encode(x).latent_dist.mean) < EXACT
    assert near(ours.decode(z), known.decode(z).sample) < EXACT
    assert len(list(ours.decode_frames(z[:1]))) == parts


@torch.no_grad()
def test_images_are_clips_of_one_frame(known, ours):
    x, z = clip(3, 1, 8, 12), 4 * clip(4, 1, 2, 3)
    assert near(ours.encode(x[:, :, 0]).mode(), known.encode(x).latent_dist.mean[:, :, 0]) < EXACT
    assert near(ours.decode(z[:, :, 0]), known.decode(z).sample[:, :, 0]) < EXACT


@torch.no_grad()
def test_bands_are_the_whole(ours):
    x, z = clip(3, 19, 12, 8)[:1], 4 * clip(4, 10, 3, 2)[:1]
    how = {"rows": 3, "keep": "disk"}
    assert near(ours.encode(x, **how).mode(), ours.encode(x).mode()) < 1e-12
    assert near(ours.decode(z, **how), ours.decode(z)) < 1e-12
    assert ours.decode(z).shape[2] == 19


@torch.no_grad()
def test_parts_are_those_of_the_definition(ours):
    """However much memory there is."""
    z = 4 * clip(4, 18, 2, 2)[:1]
    assert near(torch.cat(list(ours.decode_frames(z)), 1)[None], ours.decode(z)) == 0
    plan = ours.plan("decode", z.shape)
    assert (plan.frames, plan.begins) == (8, 9)


def test_the_config_is_in_the_shapes():
    family, config = SMALL["kvae_video"]
    shapes = expected_shapes(family, config)
    assert kvae_video.detect(shapes) == config
    alone = {name: shape for name, shape in shapes.items() if name.startswith("decoder.")}
    assert kvae_video.detect(alone).parts == ("decoder",) and kvae_video.detect(alone).temporal_ratio == 2


def test_the_published_file():
    found = detect(header("kvae-3d.diffusers")["shapes"])
    assert found.is_whole and found.config == kvae_video.FAMILY.example
    assert found.title == "KVAE 3-D, 16 channels at 1/8: KVAE 3-D"
