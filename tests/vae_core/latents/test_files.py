"""Files of latents."""

import pytest
import torch
from exact_vae.vae_core import BadRequest, BrokenCheckpoint, LatentMismatch
from exact_vae.vae_core.latents.files import StoredLatent, read_latent, read_latent_file, write_latent
from exact_vae.vae_core.latents.tag import Tag
from safetensors.torch import load_file, save_file

TAG = Tag("kl", 4, 8, (5, 7), (39, 51))


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


@pytest.mark.parametrize("name", ["a.safetensors", "a.latent"])
def test_a_view_that_negates_is_written_as_it_reads(tmp_path, name):
    """Of `x.conj().imag` other signs lie in memory."""
    z = torch.randn(1, 4, 3, 5)
    view = torch._neg_view(z)
    assert view.is_neg()
    write_latent(tmp_path / name, view, mask=torch._neg_view(z))
    stored = read_latent_file(tmp_path / name)
    assert torch.equal(stored.latent, -z) and torch.equal(stored.mask, -z)


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
    with pytest.raises(BadRequest, match="there is no file"):
        read_latent(tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(LatentMismatch, match="it needs a tensor 'latent', 'latent_tensor' or 'latents', not x"):
        read_latent(tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("this is not a latent")
    with pytest.raises(BrokenCheckpoint, match="is a text, not a file of a latent: download it again"):
        read_latent(tmp_path / "text.safetensors")


def test_an_unwritable_place_leaves_nothing(tmp_path):
    with pytest.raises(BadRequest, match="cannot be written: there is no folder"):
        write_latent(tmp_path / "nowhere" / "a.safetensors", torch.zeros(1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.safetensors", "a.latent"])
def test_several_latents_in_one_file(tmp_path, name):
    """Other programs read the first. Of a file that says another number than it holds none is taken."""
    sound, clip = torch.randn(1, 8, 6, 16), torch.randn(1, 4, 3, 5, 7)
    others = [StoredLatent(sound), StoredLatent(clip, TAG, torch.ones(1, 5, 7))]
    write_latent(tmp_path / name, torch.zeros(1, 4, 5, 7), TAG, beside=others)
    found = read_latent_file(tmp_path / name)
    assert found.tag == TAG and [one.tag for one in found.beside] == [None, TAG]
    assert torch.equal(found.beside[0].latent, sound) and torch.equal(found.beside[1].latent, clip)
    assert found.beside[0].mask is None and found.beside[1].mask is not None
    tensors = load_file(tmp_path / name)
    del tensors[max(n for n in tensors if n.startswith("latent") and n[-1] == "2")]
    save_file(tensors, tmp_path / name, metadata={"exact_vae_latents": "3"})
    with pytest.raises(BrokenCheckpoint, match="says that it holds 3 latents, but there are 2"):
        read_latent_file(tmp_path / name)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"texts": {"seed": 7}}, "the entries of a file are texts, and 'seed' is not"),
        ({"tag": "sdxl"}, "tagged with a Tag, not with str"),
        ({"mask": [1, 0]}, "a mask is a dense tensor, not list"),
        ({"mask": torch.ones(2, 2).to_sparse()}, "a mask is a dense tensor, not sparse"),
        ({"index": "x"}, "items are known by whole numbers, not by x"),
        ({"index": [0.5]}, "items are known by whole numbers"),
    ],
)
def test_what_is_written_beside_a_latent(tmp_path, given, words):
    with pytest.raises(BadRequest, match=words):
        write_latent(tmp_path / "a.safetensors", torch.zeros(1, 4, 2, 2), **given)
    assert list(tmp_path.iterdir()) == []
