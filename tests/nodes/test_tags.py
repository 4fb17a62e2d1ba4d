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


TURNING = {
    "LatentFlip, vertically": lambda z: z.flip(2),
    "LatentFlip, horizontally": lambda z: z.flip(3),
    "LatentRotate, 180 degrees": lambda z: z.rot90(2, (3, 2)),
    "LatentFlip, then a sampler": lambda z: z.flip(3) + 0.3 * z.std() * torch.randn_like(z),
    "a sampler, then LatentFlip": lambda z: (z + 0.3 * z.std() * torch.randn_like(z)).flip(3),
    "LatentFlip, LatentMultiply": lambda z: z.flip(2) * 0.7,
    "RepeatLatentBatch, LatentFlip": lambda z: torch.cat([z, z]).flip(3),
}


@pytest.mark.parametrize("node", TURNING)
def test_what_was_turned_is_not_cropped(encoded, vae, node):
    """The padding now lies at another edge: cropped as before, true pixels would be lost."""
    turned = with_samples(encoded, TURNING[node])
    assert size_after(turned, vae) == (24, 28)
    assert "not cropped to its old size" in text("ExactVAEDecode", samples=turned, vae=vae)
    tag = tag_of(turned)
    assert tag is not None and tag.size is None and tag.family == "kl"


def test_a_square_latent_that_was_turned_is_not_cropped(vae):
    square = call("ExactVAEEncode", pixels=sample_image(27, 25), vae=vae)
    assert size_after(square, vae) == (27, 25)
    for turns in (1, 2, 3):
        assert size_after(with_samples(square, lambda z, n=turns: z.rot90(n, (3, 2))), vae) == (28, 28)
    assert size_after(with_samples(square, lambda z: z.transpose(2, 3).contiguous()), vae) == (28, 28)


def test_a_batch_of_several_images_is_not_cropped_to_the_first(encoded, vae):
    """LatentBatch copies the first one's dict, and resizes what is of another size."""
    other = call("ExactVAEEncode", pixels=sample_image(24, 28).flip(1), vae=vae)
    both = torch.cat([encoded["samples"], other["samples"]])
    for first in (encoded, other):
        found = {**first, "samples": both if first is encoded else both.flip(0), "batch_index": [0, 0]}
        assert size_after(found, vae) == (24, 28)


def test_what_was_turned_back_is_cropped_again(encoded, vae):
    assert size_after(with_samples(encoded, lambda z: z.flip(3).flip(3)), vae) == SIZE


def test_a_turned_latent_is_saved_without_its_size(encoded, vae, folders):
    call_saved = run_node("ExactSaveLatent", samples=with_samples(encoded, lambda z: z.flip(3)), filename_prefix="z")
    name = call_saved["ui"]["latents"][0]["filename"]
    loaded = call("ExactLoadLatent", latent=f"{name} [output]")
    assert "size" not in loaded["exact_vae"] and size_after(loaded, vae) == (24, 28)
    kept = run_node("ExactSaveLatent", samples=encoded, filename_prefix="z")["ui"]["latents"][0]["filename"]
    again = call("ExactLoadLatent", latent=f"{kept} [output]")
    assert size_after(again, vae) == SIZE and size_after(with_samples(again, lambda z: z.flip(2)), vae) == (24, 28)


def test_our_own_nodes_keep_the_size_of_what_they_change(encoded, vae):
    scaled = call("ExactConvertLatent", samples=encoded, to="scaled", latent_space="sd1")
    raw = call("ExactConvertLatent", samples=scaled, to="raw")
    how = {"seed": 1, "width": 8, "height": 8, "batch_size": 1, "strength": 0.5, "samples": encoded}
    noisy = call("ExactLatentNoise", **how, add_to_samples=True)
    mixed = call("ExactLatentInterpolate", samples1=encoded, samples2=noisy, ratio=0.5, steps=3)
    for found in (raw, noisy, mixed):
        assert size_after(found, vae) == SIZE
        assert size_after(with_samples(found, lambda z: z.flip(2)), vae) == (24, 28)


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
