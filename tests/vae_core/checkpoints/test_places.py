"""Paths as people write them, and folders as they have them: the one VAE is found, or a sentence says what is there."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.vae_core import BadRequest, VAEError, inspect, load
from safetensors.torch import save_file
from support.random_networks import random_weights, small_kl

USUAL = "diffusion_pytorch_model"


@pytest.fixture(scope="module")
def weights():
    return random_weights("kl", small_kl())


def write_parts(folder: Path, weights, stem: str = USUAL, ending: str = ".safetensors", lead: str = "") -> Path:
    """Two of them and their index, which names them behind a lead."""
    folder.mkdir(parents=True, exist_ok=True)
    names, files = sorted(weights), [f"{stem}-0000{i}-of-00002{ending}" for i in (1, 2)]
    for i, file in enumerate(files):
        part = {name: weights[name] for name in names[i::2]}
        (torch.save if ending == ".bin" else save_file)(part, folder / file)
    index = folder / f"{stem}{ending}.index.json"
    text = json.dumps({"weight_map": {name: lead + files[i % 2] for i, name in enumerate(names)}})
    index.write_bytes(b"\xef\xbb\xbf" + text.encode())  # as editors on Windows write it
    return index


def is_whole(path) -> bool:
    return inspect(path).is_whole and load(path).family == "kl"


@pytest.mark.parametrize("lead", ["", "C:\\models\\vae\\", "./"])
def test_an_index_of_any_system(tmp_path, weights, lead):
    index = write_parts(tmp_path, weights, lead=lead)
    assert is_whole(index) and is_whole(tmp_path)


@pytest.mark.parametrize("ending", [".safetensors", ".SAFETENSORS", ".bin"])
@pytest.mark.parametrize("stem", [USUAL, "pytorch_model", "any name"])
def test_parts_without_their_index(tmp_path, weights, stem, ending):
    write_parts(tmp_path, weights, stem, ending).unlink()
    assert is_whole(tmp_path)
    (tmp_path / f"{stem}-00002-of-00002{ending}").unlink()
    with pytest.raises(BadRequest, match="is one of 2 parts, others are missing"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["vae/pytorch_model.bin", "VAE/any name.SAFETENSORS", "MoVQ/model.safetensors"])
def test_folders_of_a_model(tmp_path, weights, name):
    file = tmp_path / name
    file.parent.mkdir()
    (torch.save if name.endswith("bin") else save_file)(weights, file)
    assert is_whole(tmp_path)


def test_other_folders_are_named(tmp_path, weights):
    for name in ("first_stage_model", "text_encoder"):
        (tmp_path / name).mkdir()
        save_file(weights, tmp_path / name / "model.safetensors")
    with pytest.raises(BadRequest, match="weights are in its folder first_stage_model, text_encoder: name the one"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["x.safetensors", "vae/x.safetensors"])
def test_a_link_to_nothing(tmp_path, name):
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("../blobs/0")
    for path in (link, tmp_path):
        with pytest.raises(BadRequest, match=r"is a link to '.*blobs.0', which is not there: copy or download"):
            load(path)


def test_the_cache_of_hugging_face(tmp_path, weights, monkeypatch):
    """By a repository's name, or by its folder there; a link into it may lead to what was not fetched in full."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--org--name"
    file = folder / "snapshots" / "0123" / "vae" / f"{USUAL}.safetensors"
    for one in (file.parent, folder / "blobs", folder / "refs"):
        one.mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123")
    file.symlink_to("../../../blobs/4567")
    for name in ("org/name", f"org/name/vae/{file.name}"):
        with pytest.raises(BadRequest, match="which is not there: copy or download the file again"):
            load(name)
    save_file(weights, folder / "blobs" / "4567")
    assert all(map(is_whole, ("org/name", "org/name/vae", folder, folder / "blobs" / "4567")))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("https://huggingface.co/org/name", "is an address, not a file"),
        ("file:///tmp/x.safetensors", "is an address, not a file"),
        ("~nobody-of-this-name/x.safetensors", "there is no file '~nobody-of-this-name"),
    ],
)
def test_what_is_no_path(path, words):
    with pytest.raises(BadRequest, match=words):
        load(path)


@pytest.mark.parametrize("name", ["config.json", "model_index.json"])
def test_settings_are_no_weights(tmp_path, weights, name):
    save_file(weights, tmp_path / f"{USUAL}.safetensors")
    (tmp_path / name).write_text("{}")
    with pytest.raises(BadRequest, match="holds settings of a model, no weights: give its folder"):
        load(tmp_path / name)


def test_archives_and_arrays(tmp_path, weights):
    save_file(weights, tmp_path / "a.safetensors")
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.write(tmp_path / "a.safetensors", "a.safetensors")
    np.save(tmp_path / "a.npy", np.zeros(9))
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(99))
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    for name, words in (("a.pt", "a ZIP archive that PyTorch has not written, it holds a.safetensors: unpack"),
                        ("a.npy", "is one array of numpy"), ("a.7z", "is a 7z archive, not a file of weights: unpack"),
                        ("a.h5", "is an HDF5 file")):  # fmt: skip
        with pytest.raises(VAEError, match=words):
            load(tmp_path / name)


@pytest.mark.parametrize("name", ["", "$EXACT_VAE_NOTHING"])
@pytest.mark.parametrize("read", [load, inspect])
def test_an_empty_name_is_not_this_folder(name, read, weights, monkeypatch, tmp_path):
    monkeypatch.setenv("EXACT_VAE_NOTHING", "")
    monkeypatch.chdir(tmp_path)
    save_file(weights, tmp_path / "ae.safetensors")
    with pytest.raises(BadRequest, match="an empty name, which names no file"):
        read(name)
    assert read(".")
