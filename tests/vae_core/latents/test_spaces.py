"""Latent spaces, tags, and files of latents."""

import pytest
import torch
from exact_vae.vae_core import BadRequest, BrokenCheckpoint, LatentMismatch, load
from exact_vae.vae_core.latents.files import read_latent, read_latent_file, write_latent
from exact_vae.vae_core.latents.spaces import SPACES, find_spaces, get_space, name_models
from exact_vae.vae_core.latents.tag import Tag
from safetensors.torch import load_file, save_file

TAG = Tag("kl", 4, 8, (5, 7), (39, 51))


def test_spaces():
    assert (SPACES["sd1"].scale, SPACES["sdxl"].scale, SPACES["flux1"].shift) == (0.18215, 0.13025, 0.1159)
    assert name_models(128, 16) == "FLUX.2"
    assert name_models(4, 8).startswith("SD 1.x")
    assert "SD x4" not in name_models(4, 8) and "SD x4" in name_models(4)
    assert name_models(99) == ""
    with pytest.raises(BadRequest, match="there is no latent space 'x': choose one of sd1, sdxl"):
        get_space("x")


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_complete(name):
    """Statistics are of every channel, and there are both or neither."""
    one = SPACES[name]
    assert len(one.mean) == len(one.std) and len(one.std) in (0, one.channels)
    assert one.scale > 0 and all(std > 0 for std in one.std)
    assert name in find_spaces(one.channels, one.ratio)
    assert one.models in name_models(
        one.channels, one.ratio, one.families[0] if one.families else None
    ) or " others" in (name_models(one.channels, one.ratio))


def test_many_models_are_not_all_named():
    assert name_models(16).count(" or ") == 4 and name_models(16).endswith(" others")


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


@pytest.mark.parametrize("name", ["a.safetensors", "a.latent"])
@pytest.mark.parametrize("shape", [(2, 4, 5, 7), (1, 4, 3, 5, 7)])
def test_files_round_trip(tmp_path, name, shape):
    latent = torch.randn(shape)
    write_latent(tmp_path / name, latent, TAG, {"prompt": "{}"})
    found, tag = read_latent(tmp_path / name)
    assert torch.equal(found, latent)
    assert tag == TAG
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.safetensors", "a.latent"])
def test_a_mask_and_the_items_of_a_batch(tmp_path, name):
    mask = torch.rand(2, 1, 8, 8)
    write_latent(tmp_path / name, torch.zeros(2, 4, 5, 7).bfloat16(), TAG, mask=mask, index=[4, 0])
    found = read_latent_file(tmp_path / name)
    assert found.mask is not None and torch.equal(found.mask, mask) and found.items == [4, 0] and found.tag == TAG
    assert found.latent.dtype is torch.float32
    assert load_file(tmp_path / name)["latent" if "safe" in name else "latent_tensor"].dtype is torch.bfloat16


def test_a_tag_of_another_latent_is_dropped(tmp_path):
    write_latent(tmp_path / "a.latent", torch.zeros(2, 16, 5, 7), TAG)
    assert read_latent(tmp_path / "a.latent")[1] is None


def test_a_node_s_file_has_the_node_s_names(tmp_path):
    write_latent(tmp_path / "a.latent", torch.zeros(1, 4, 2, 2))
    assert set(load_file(tmp_path / "a.latent")) == {"latent_tensor", "latent_format_version_0"}


def test_an_old_node_s_file_was_scaled(tmp_path):
    save_file({"latent_tensor": torch.ones(1, 4, 2, 2)}, tmp_path / "old.latent")
    assert read_latent(tmp_path / "old.latent")[0].flatten()[0] == pytest.approx(1 / 0.18215)


def test_bad_files(tmp_path):
    with pytest.raises(BadRequest, match="there is no latent file"):
        read_latent(tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(LatentMismatch, match="holds no latent: it needs a tensor 'latent' or 'latent_tensor', not x"):
        read_latent(tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("this is not a latent")
    with pytest.raises(BrokenCheckpoint, match="is text"):
        read_latent(tmp_path / "text.safetensors")


def test_an_unwritable_place_leaves_nothing(tmp_path):
    with pytest.raises(BadRequest, match=r"cannot be written: No such file or directory\."):
        write_latent(tmp_path / "nowhere" / "a.safetensors", torch.zeros(1))
    assert list(tmp_path.iterdir()) == []
