"""Cosmos' tokenizer against diffusers' own, random weights, float64; clips in parts against at once."""

import diffusers
import pytest
import torch
from exact_vae.vae_core import detect, from_weights
from exact_vae.vae_core.checkpoints.saving import weights_as
from exact_vae.vae_core.families import cosmos
from exact_vae.vae_core.families.registry import expected_shapes
from support.diffusers_networks import DIFFUSERS
from support.headers import header
from support.random_networks import random_weights, shake
from support.small_networks import SMALL
from support.tensors import clip, near

EXACT = 1e-9


@pytest.fixture(scope="module")
def known():
    torch.manual_seed(0)
    name, settings = DIFFUSERS["cosmos"]
    return shake(getattr(diffusers, name)(**settings))


@pytest.fixture(scope="module")
def ours(known):
    return from_weights(known.state_dict())


def normal(known, z):
    """As diffusers' pipelines of Cosmos make latents of z: statistics of each latent frame, and sigma_data."""
    mean, std = (
        torch.tensor(numbers, dtype=torch.float32).double().view(1, 16, -1, 1, 1)[:, :, : z.shape[2]]
        for numbers in (known.config.latents_mean, known.config.latents_std)
    )
    return (z - mean) * 0.5 / std


@pytest.mark.parametrize("frames", [1, 5, 13])
@torch.no_grad()
def test_equals_diffusers(known, ours, frames):
    """By default a clip is run a latent frame at a time."""
    assert (ours.family, ours.spatial_ratio, ours.temporal_ratio) == ("cosmos", 4, 4)
    x, z = clip(3, frames, 12, 16), 4 * clip(16, 1 + frames // 4, 3, 2)
    want, got = known.encode(x).latent_dist.mode(), ours.encode(x)
    assert near(got.mode(), normal(known, want)) < EXACT
    assert near(ours.decode(normal(known, z)), known.decode(z).sample) < EXACT


@torch.no_grad()
def test_images_are_clips_of_one_frame(known, ours):
    x, z = clip(3, 1, 12, 16), 4 * clip(16, 1, 3, 2)
    want = normal(known, known.encode(x).latent_dist.mode())
    assert near(ours.encode(x[:, :, 0]).mode(), want[:, :, 0]) < EXACT
    assert near(ours.decode(normal(known, z)[:, :, 0]), known.decode(z).sample[:, :, 0]) < EXACT


@pytest.mark.parametrize("how", [{"rows": 1000}, {"rows": 3, "keep": "disk"}], ids=["whole", "disk"])
@torch.no_grad()
def test_parts_and_bands_are_the_clip_at_once(known, ours, how):
    x, z = clip(3, 9, 12, 8)[:1], 4 * clip(16, 4, 3, 2)[:1]
    assert ours.plan("decode", z.shape, **how).frames == 1
    assert near(ours.encode(x, **how).mode(), normal(known, known.encode(x).latent_dist.mode())) < EXACT
    assert near(ours.decode(normal(known, z), **how), known.decode(z).sample) < EXACT


@torch.no_grad()
def test_after_sixteen_latent_frames_statistics_begin_anew(ours):
    z = torch.randn(1, 16, 18, 2, 2, dtype=torch.float64)
    op = ours.network.normalize
    assert torch.equal(op(z)[:, :, 16:], op(z[:, :, 16:]))
    assert not torch.equal(op(z)[:, :, 1:3], op(z[:, :, 1:3]))
    assert near(ours.network.denormalize(op(z)), z) < EXACT


@torch.no_grad()
def test_a_file_s_own_statistics_count():
    weights = random_weights(*SMALL["cosmos"], torch.float64) | {"latent_std": torch.full((256,), 0.25)}
    vae, z = from_weights(weights, dtype=torch.float64), torch.randn(1, 16, 2, 2, 2, dtype=torch.float64)
    mean = weights["latent_mean"].float().double().view(1, 16, 16, 1, 1)[:, :, :2]
    assert near(vae.network.normalize(z), (z - mean) * 2) < 1e-6


def test_the_config_is_in_the_shapes():
    family, config = SMALL["cosmos"]
    shapes = expected_shapes(family, config)
    assert cosmos.detect(shapes) == config
    alone = {name: shape for name, shape in shapes.items() if name.startswith(("decoder.", "post_quant"))}
    assert cosmos.detect(alone).parts == ("decoder",) and not cosmos.detect(alone).statistics


def test_the_published_files(ours):
    """What is written under NVIDIA's names has all of them."""
    found, theirs = (detect(header(f"cosmos-cv8x8x8.{kind}")["shapes"]) for kind in ("comfy", "diffusers"))
    assert found.is_whole and found.config == cosmos.FAMILY.example
    assert theirs.is_whole and not theirs.config.statistics
    assert found.title == "Cosmos' tokenizer of clips, 16 channels at 1/8: Cosmos 1.0"
    held = {name for name in header("cosmos-cv8x8x8.comfy")["shapes"] if "patcher3d" in name or "latent" in name}
    assert held < weights_as(ours, "original").keys()
