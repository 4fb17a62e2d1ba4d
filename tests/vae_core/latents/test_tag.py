"""Tags of latents."""

import torch
from exact_vae.vae_core import load
from exact_vae.vae_core.latents.tag import Tag

TAG = Tag("kl", 4, 8, (5, 7), (39, 51))


def test_a_tag_counts_only_for_the_latent_it_was_made_for():
    assert TAG.size_of((1, 4, 5, 7)) == (39, 51)
    assert TAG.size_of((3, 4, 2, 5, 7)) == (39, 51)
    assert TAG.size_of((1, 4, 10, 14)) is None


def test_what_is_still_true_of_another_latent():
    assert TAG.adapt_to((2, 4, 5, 7)) == TAG
    assert TAG.adapt_to((2, 4, 10, 14)) == Tag("kl", 4, 8, (10, 14))
    assert TAG.adapt_to((2, 16, 5, 7)) is None


def test_a_tag_of_a_vae(kl_file):
    vae = load(kl_file)
    tag = Tag.of(torch.zeros(1, 4, 5, 7), vae.family, vae.spatial_ratio, None, vae)
    assert tag.vae and len(tag.vae) == 16 and tag.space is None and tag.convention == "raw"
    assert "space" not in tag.to_dict() and Tag.from_dict(tag.to_dict()) == tag
    old = {
        "family": "kl",
        "channels": 4,
        "ratio": 8,
        "latent": [5, 7],
        "size": None,
    }  # of files before there were these
    assert Tag.from_dict(old) == Tag("kl", 4, 8, (5, 7))


def test_tags_travel_as_json():
    assert Tag.from_json(TAG.to_json()) == TAG
    assert Tag.from_json("{") is None
    assert Tag.from_json('{"family": "kl"}') is None
    good = TAG.to_dict()
    for bad in ([1], None, "x", good | {"size": [5]}, good | {"size": [0, 3]}, good | {"size": [-5, 3]},
                good | {"size": [41, 3]}, good | {"ratio": float("inf")}, good | {"latent": 3}):  # fmt: skip
        assert Tag.from_dict(bad) is None, bad
    assert Tag.from_json("[" * 100_000) is None
    assert Tag.from_dict(TAG.to_dict()) == TAG
