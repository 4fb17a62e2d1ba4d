"""A folder of models, and a VAE from it."""

import shutil

import pytest
import torch
from exact_vae.nodes import host
from safetensors.torch import load_file, save_file
from support.node_calls import call
from support.random_networks import random_weights


@pytest.fixture
def models(tmp_path, kl_file):
    """A folder of models: a VAE, one in a subfolder, a full checkpoint, two tiny halves and one alone."""
    folder = tmp_path / "models"
    for kind in ("vae/sub", "vae_approx", "checkpoints"):
        (folder / kind).mkdir(parents=True)
    shutil.copy(kl_file, folder / "vae" / "small.safetensors")
    shutil.copy(kl_file, folder / "vae" / "sub" / "other.safetensors")
    (folder / "vae" / "notes.txt").write_text("no VAE")
    weights = load_file(kl_file)
    full = {f"vae.{n}": t for n, t in weights.items()} | {"model.diffusion_model.x": torch.zeros(1)}
    save_file(full, folder / "checkpoints" / "full.safetensors")
    from exact_vae.vae_core.families.tiny import FAMILY

    tiny = random_weights("tiny", FAMILY.example)
    for stem in ("taesd", "mine"):
        for half in ("encoder", "decoder"):
            part = {n.removeprefix(f"{half}."): t for n, t in tiny.items() if n.startswith(half)}
            save_file(part, folder / "vae_approx" / f"{stem}_{half}.safetensors")
    shutil.copy(folder / "vae_approx" / "mine_decoder.safetensors", folder / "vae_approx" / "alone_decoder.safetensors")
    with host.surroundings(folder):
        yield folder


@pytest.fixture
def vae(models):
    return call("ExactVAELoader", vae_name="small.safetensors")


@pytest.fixture
def folders(tmp_path, models):
    """Those of results and of inputs, beside the models: out/ and in/."""
    with host.surroundings(models, None, tmp_path / "out", tmp_path / "in"):
        yield tmp_path
