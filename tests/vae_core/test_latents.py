"""Latent spaces, tags, and files of latents."""

import pytest
import torch
from exact_vae.vae_core import BadRequest, BrokenCheckpoint, LatentMismatch
from exact_vae.vae_core.latent_files import read_latent, write_latent
from exact_vae.vae_core.latents import SPACES, Tag, models, space, space_of_file
from safetensors.torch import load_file, save_file

TAG = Tag("kl", 4, 8, (5, 7), (39, 51))


def test_spaces():
    assert (SPACES["sd1"].scale, SPACES["sdxl"].scale, SPACES["flux1"].shift) == (0.18215, 0.13025, 0.1159)
    assert models(128, 16) == "FLUX.2"
    assert models(4, 8).startswith("SD 1.x")
    assert "SD x4" not in models(4, 8) and "SD x4" in models(4)
    assert models(99) == ""
    with pytest.raises(BadRequest, match="there is no latent space 'x': choose one of sd1, sdxl"):
        space("x")


def test_authors_file_names():
    names = (
        "taesd_encoder.pth",
        "taesdxl_decoder.safetensors",
        "TAESD3.safetensors",
        "taef1_decoder.pth",
        "taesana.pth",
    )
    assert [space_of_file(n) for n in names] == ["sd1", "sdxl", "sd3", "flux1", "sana"]
    assert [space_of_file(n) for n in ("taef2_encoder.pth", "mine.pth", "taesd_mine.pth")] == [None] * 3


def test_a_tag_counts_only_for_the_latent_it_was_made_for():
    assert TAG.size_of((1, 4, 5, 7)) == (39, 51)
    assert TAG.size_of((3, 4, 2, 5, 7)) == (39, 51)
    assert TAG.size_of((1, 4, 10, 14)) is None


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
