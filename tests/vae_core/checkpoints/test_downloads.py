"""Repositories of Hugging Face: fetched only if asked for, and then what a VAE needs. Nothing here asks the network."""

import json
from pathlib import Path

import pytest
import torch
from exact_vae.cli import main
from exact_vae.vae_core import BadRequest, inspect, load
from exact_vae.vae_core.checkpoints import downloads
from safetensors.torch import save_file
from support.random_networks import random_weights, small_kl

hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
USUAL = "diffusion_pytorch_model"


@pytest.fixture(scope="module")
def weights():
    return random_weights("kl", small_kl())


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A repository that is far away: its files, and which of them were fetched; an empty cache."""
    far, here, fetched = tmp_path / "far", tmp_path / "hub" / "models--org--model" / "snapshots" / "abc", []
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    def list_files(name):
        if name != "org/model":
            raise OSError(f"404 Client Error: no {name}\nmore of it")
        return [path.relative_to(far).as_posix() for path in sorted(far.rglob("*")) if path.is_file()]

    def fetch(name, file):
        target = here / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((far / file).read_bytes())
        (here.parents[1] / "refs").mkdir(exist_ok=True)
        (here.parents[1] / "refs" / "main").write_text("abc")
        fetched.append(file)
        return str(target)

    monkeypatch.setattr(hub, "list_repo_files", list_files)
    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    far.mkdir()
    return far, fetched


def put(folder: Path, weights, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, folder / name) if name.endswith("safetensors") else (folder / name).write_text("{}")


def holds(vae, weights) -> bool:
    found = vae.network.state_dict()
    return all(torch.equal(found[name], tensor) for name, tensor in weights.items())


def test_only_if_asked_for_and_only_what_a_vae_needs(remote, weights):
    far, fetched = remote
    put(far, weights, f"vae/{USUAL}.safetensors", f"vae/{USUAL}.fp16.safetensors", "vae/config.json")
    put(far, weights, f"unet/{USUAL}.safetensors", "model_index.json")
    with pytest.raises(BadRequest, match="there is no file 'org/model'; if it is a repository of Hugging Face, "):
        load("org/model")
    assert not fetched
    assert holds(load("org/model", download=True), weights)
    assert fetched == [f"vae/{USUAL}.safetensors", "vae/config.json"]
    assert holds(load("org/model", subfolder="vae"), weights)  # from the cache
    assert holds(load("org/model", subfolder="vae", download=True), weights)
    assert len(fetched) == 2


@pytest.mark.parametrize("path", ["org/model/vae", "org/model/vae/some.safetensors"])
def test_a_place_within_it(remote, weights, path):
    far, fetched = remote
    put(far, weights, f"vae/{USUAL}.fp16.safetensors", "vae/some.safetensors")
    assert inspect(path, download=True).is_whole
    assert fetched == [f"vae/{USUAL}.fp16.safetensors" if path.endswith("vae") else "vae/some.safetensors"]


def test_all_parts_of_an_index(remote, weights):
    far, fetched = remote
    names, parts = sorted(weights), [f"{USUAL}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for i, part in enumerate(parts):
        put(far, {name: weights[name] for name in names[i::2]}, f"vae/{part}")
    table = {name: parts[i % 2] for i, name in enumerate(names)}
    (far / "vae" / f"{USUAL}.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    assert holds(load("org/model", download=True), weights)
    assert sorted(set(fetched)) == [f"vae/{name}" for name in (*parts, f"{USUAL}.safetensors.index.json")]


def test_what_cannot_be_fetched_is_a_sentence(remote, weights, monkeypatch):
    far, fetched = remote
    put(far, weights, "odd/name.safetensors", "README.md")
    with pytest.raises(BadRequest, match=r"'org/model' on Hugging Face holds no VAE .*: odd/name.safetensors"):
        load("org/model", download=True)
    with pytest.raises(BadRequest, match=r"'org/none' could not be downloaded from Hugging Face: 404 .* no org/none$"):
        load("org/none", download=True)
    monkeypatch.setattr(downloads, "find_spec", lambda name: None)
    with pytest.raises(BadRequest, match="cannot be downloaded without huggingface_hub: pip install huggingface_hub"):
        load("org/model", download=True)
    with pytest.raises(BadRequest, match=r"there is no file 'none/vae.safetensors'\.$"):
        load("none/vae.safetensors")
    assert not fetched


def test_on_the_command_line(remote, weights, capsys):
    far, fetched = remote
    put(far, weights, f"vae/{USUAL}.safetensors")
    assert main(["inspect", "org/model"]) == 1 and not fetched
    assert "--download (download=True) fetches it" in capsys.readouterr().err
    assert main(["inspect", "org/model", "--download"]) == 0 and fetched
    assert "Autoencoder-KL" in capsys.readouterr().out
