"""What a latent remembers, on its way through nodes that know nothing of it.

Core's nodes copy the dict of the first latent and put another tensor into it; so do the stand-ins here. What no longer
fits the tensor must be dropped, and what was never possible must not be believed.
"""

import pytest
import torch
from exact_vae.nodes.images import replace_latent, tag_of
from exact_vae.vae_core import from_weights
from exact_vae.vae_core.errors import LatentMismatch
from support.node_calls import call, run_node, sample_image, text
from support.random_networks import random_weights, small_kl

SIZE = (21, 27)  # in pixels; the small VAE's ratio is 4, so its latent is 6x7


@pytest.fixture
def encoded(vae):
    return call("ExactVAEEncode", pixels=sample_image(*SIZE), vae=vae)


def with_samples(latent, change):
    return {**latent, "samples": change(latent["samples"])}


def size_after(latent, vae):
    return tuple(call("ExactVAEDecode", samples=latent, vae=vae).shape[1:3])


KEEPING = {
    "a sampler": lambda z: torch.randn_like(z),
    "LatentBatch, RepeatLatentBatch": lambda z: torch.cat([z, z]),
    "LatentFromBatch": lambda z: z[:1].clone(),
    "LatentComposite": lambda z: torch.cat([z[..., :3], torch.ones_like(z[..., 3:])], -1),
    "LatentAdd, LatentBlend": lambda z: z * 0.5 + 1,
}
CUTTING = {
    "LatentUpscaleBy": lambda z: z.repeat_interleave(2, -1).repeat_interleave(2, -2),
    "LatentCrop": lambda z: z[..., 1:, :5],
    "LatentRotate": lambda z: z.rot90(1, (-1, -2)),
    "LatentConcat": lambda z: torch.cat([z, z], -1),
}


@pytest.mark.parametrize("node", KEEPING)
def test_the_size_stays_while_the_latent_keeps_its_own(encoded, vae, node):
    assert size_after(with_samples(encoded, KEEPING[node]), vae) == SIZE


@pytest.mark.parametrize("node", CUTTING)
def test_the_size_is_dropped_with_the_latent_s_own(encoded, vae, node):
    """The whole of the decoded latent is given; whose latent it is stays true."""
    cut = with_samples(encoded, CUTTING[node])
    h, w = cut["samples"].shape[-2:]
    assert size_after(cut, vae) == (4 * h, 4 * w)
    tag = tag_of(cut)
    assert tag is not None and tag.size is None and tag.family == "kl" and tag.latent == (h, w)


def test_a_size_that_was_dropped_does_not_come_back(encoded):
    """Upscaled by our own node's rules and scaled down again, a latent is no longer the one that was padded."""
    z = encoded["samples"]
    larger = replace_latent(encoded, CUTTING["LatentUpscaleBy"](z), tag_of(encoded))
    again = with_samples(larger, lambda _: z)
    tag = tag_of(again)
    assert tag is not None and tag.size is None


@pytest.mark.parametrize(
    "shape",
    [(1, 16, 6, 7), (1, 8, 4), (1, 4, 7), (4,), (1, 4, 2, 3, 6, 7)],
    ids=["another model's", "sound", "sound of four channels", "a row", "six dimensions"],
)
def test_all_is_dropped_in_a_latent_of_another_kind(encoded, shape):
    """SeparateAVLatent of LTXV copies the dict of the video for the sound, too."""
    assert tag_of(with_samples(encoded, lambda _: torch.zeros(shape))) is None


def test_of_a_batch_of_two_the_first_one_s_tag_counts(encoded, vae):
    """LatentBatch resizes the second to the first, and copies the first one's dict."""
    other = call("ExactVAEEncode", pixels=sample_image(24, 28), vae=vae)
    both = {**encoded, "samples": torch.cat([encoded["samples"], other["samples"]]), "batch_index": [0, 1]}
    assert call("ExactVAEDecode", samples=both, vae=vae).shape == (2, *SIZE, 3)
    turned = {**other, "samples": both["samples"]}
    assert call("ExactVAEDecode", samples=turned, vae=vae).shape == (2, 24, 28, 3)


@pytest.mark.parametrize(
    "lie",
    [
        {"size": [400, 400]},
        {"size": [0, 27]},
        {"ratio": 0},
        {"ratio": -4},
        {"channels": 0},
        {"latent": [0, 7]},
        {"latent": "6x7"},
        {"family": None, "ratio": None},
    ],
    ids=str,
)
def test_what_cannot_be_is_not_believed(encoded, vae, lie):
    false = {**encoded, "exact_vae": {**encoded["exact_vae"], **lie}}
    assert tag_of(false) is None
    assert size_after(false, vae) == (24, 28)


@pytest.mark.parametrize("space", ["flux1", "mochi", "of a later version", ""])
def test_a_space_of_other_channels_is_not_believed(encoded, space):
    """Its statistics would be those of other channels; the rest of the tag is true."""
    false = {**encoded, "exact_vae": {**encoded["exact_vae"], "space": space}}
    tag = tag_of(false)
    assert tag is not None and tag.space is None and tag.size == SIZE
    assert "a VAE of the family 'kl'" in text("ExactLatentInspect", samples=false)


def test_a_convention_of_a_later_version_is_refused(encoded, vae):
    """To take such numbers for raw ones would give a wrong image."""
    strange = {**encoded, "exact_vae": {**encoded["exact_vae"], "convention": "squared"}}
    with pytest.raises(LatentMismatch, match="this latent is squared"):
        call("ExactVAEDecode", samples=strange, vae=vae)


def test_what_was_made_from_nothing_remembers_no_vae(vae):
    """A sampler makes its numbers; looked at with another VAE of the same model there is nothing to warn of."""
    size = {"width": 64, "height": 64}
    made = [
        call("ExactEmptyLatent", vae=vae, batch_size=1, **size),
        call("ExactLatentNoise", vae=vae, seed=0, batch_size=1, strength=1.0, **size),
        call("ExactLatentSample", vae=vae, seed=0, samples_per_image=1, temperature=1.0, **size),
    ]
    other = from_weights({n: t * 1.01 for n, t in random_weights("kl", small_kl()).items()})
    for latent in made:
        assert latent["exact_vae"]["size"] == (64, 64) and "vae" not in latent["exact_vae"]
        sampled = with_samples(latent, lambda z: z.cumsum(-1) + 1)
        assert "another VAE" not in text("ExactLatentInspect", samples=sampled, vae=other)


def test_noise_in_the_place_of_a_latent_is_raw_and_nobody_s(encoded, vae):
    scaled = call("ExactConvertLatent", samples=encoded, to="scaled", latent_space="sd1")
    how = {"seed": 1, "width": 8, "height": 8, "batch_size": 1, "strength": 1.0, "samples": scaled}
    alone, added = (call("ExactLatentNoise", **how, add_to_samples=add)["exact_vae"] for add in (False, True))
    assert alone["convention"] == "raw" and "vae" not in alone and alone["size"] == SIZE
    assert added["convention"] == "scaled" and added["vae"] == encoded["exact_vae"]["vae"]


def test_a_tag_is_plain_values(encoded):
    """So that other packs may copy, print or store it, and a server send it."""
    assert all(isinstance(value, str | int | tuple) for value in encoded["exact_vae"].values())
    assert run_node("ExactLatentInspect", samples=encoded)["ui"]["text"][0].startswith("shape")
