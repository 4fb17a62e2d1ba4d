"""CogVideoX's autoencoder against diffusers' own, random weights, float64: defined by the parts it is run in."""

import diffusers
import pytest
import torch
from exact_vae.vae_core import from_weights
from exact_vae.vae_core.execution import Plan
from support.diffusers_networks import DIFFUSERS
from support.random_networks import shake
from support.tensors import clip, moments, near

EXACT = 1e-9


@pytest.fixture(scope="module")
def known():
    torch.manual_seed(0)
    name, settings = DIFFUSERS["cogvideox"]
    return shake(getattr(diffusers, name)(**settings))


@pytest.fixture(scope="module")
def ours(known):
    return from_weights(known.state_dict())


@pytest.mark.parametrize("frames", [1, 9, 17])
@torch.no_grad()
def test_clips_are_encoded_as_by_diffusers(known, ours, frames):
    assert (ours.family, ours.spatial_ratio, ours.temporal_ratio) == ("cogvideox", 4, 4)
    x = clip(3, frames, 16, 24)
    want, got = known.encode(x).latent_dist, ours.encode(x)
    assert near(got.mode(), want.mean) < EXACT
    assert frames == 1 or near(moments(got), torch.cat([want.mean, want.logvar], 1)) < EXACT


@pytest.mark.parametrize("latents", [1, 2, 3, 4, 5, 7])
@torch.no_grad()
def test_latents_are_decoded_as_by_diffusers(known, ours, latents):
    """An even number too, which samplers may make: then four frames come of each, the first one too."""
    z = 2 * clip(4, latents, 4, 6)
    assert near(ours.decode(z), known.decode(z).sample) < EXACT


@torch.no_grad()
def test_images_are_clips_of_one_frame(known, ours):
    x, z = clip(3, 1, 16, 24), 2 * clip(4, 1, 4, 6)
    assert near(ours.encode(x[:, :, 0]).mode(), known.encode(x).latent_dist.mean[:, :, 0]) < EXACT
    assert near(ours.decode(z[:, :, 0]), known.decode(z).sample[:, :, 0]) < EXACT


@pytest.mark.parametrize("how", [{"rows": 8}, {"rows": 3, "keep": "disk"}], ids=["bands", "disk"])
@torch.no_grad()
def test_bands_are_the_whole(ours, how):
    x, z = clip(3, 17, 18, 16)[:1], 2 * clip(4, 5, 5, 4)[:1]
    assert near(ours.encode(x, **how).mode(), ours.encode(x).mode()) < 1e-12
    assert near(ours.decode(z, **how), ours.decode(z)) < 1e-12


@pytest.mark.parametrize("latents", [2, 3, 4, 5])
@torch.no_grad()
def test_parts_are_those_of_the_definition(ours, latents):
    """However much memory there is: other parts would be other numbers. The plan says how many frames the first has."""
    plans: list[Plan] = []
    z = 2 * clip(4, latents, 4, 6)[:1]
    frames = list(ours.decode_frames(z, on_plan=plans.append))
    assert near(torch.cat(frames, 1)[None], ours.decode(z)) == 0
    assert len(frames) == max(1, latents // 2)
    assert (plans[0].frames, plans[0].begins) == ((2, 2 + latents % 2) if latents > 3 else (0, 0))


@torch.no_grad()
def test_a_clip_is_continued_to_eight_frames_and_one(ours):
    x = clip(3, 12, 16, 16)[:1]
    longer = torch.cat([x, x[:, :, -1:].expand(-1, -1, 5, -1, -1)], 2)
    assert torch.equal(ours.encode(x).mode(), ours.encode(longer).mode())
    assert ours.decode(ours.encode(x).mode()).shape[2] == 17
