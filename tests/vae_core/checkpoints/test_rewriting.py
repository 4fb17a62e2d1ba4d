"""A file written again keeps its names, shapes and dtypes, whatever layout it has; only what is replaced is new."""

import json

import pytest
import torch
from exact_vae.vae_core import BadRequest, inspect, load
from exact_vae.vae_core.checkpoints.detection import detect_in
from exact_vae.vae_core.checkpoints.files import open_checkpoint
from exact_vae.vae_core.checkpoints.rewriting import in_file, rewrite
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.random_networks import random_weights, small_kl


def changed(path, target, name="decoder.conv_in.bias", metadata=None) -> torch.Tensor:
    """`path` rewritten with another tensor of this reference name, which is returned."""
    checkpoint = open_checkpoint(path)
    found = detect_in(checkpoint)
    new = torch.arange(torch.tensor(found.shapes[name]).prod().item(), dtype=torch.float64).reshape(found.shapes[name])
    rewrite(checkpoint, target, in_file(found.names, {name: new}), metadata)
    return new


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_all_but_what_is_replaced_stays(tmp_path, kl_file, dtype):
    own = {name: tensor.to(dtype) for name, tensor in load_file(kl_file).items()}
    others = {"scale": torch.tensor(3), "flags": torch.tensor([True, False, True]), "x": torch.zeros(0, 3)}
    save_file({**own, **others}, kl_file, {"title": "mine"})
    new = changed(kl_file, tmp_path / "new.safetensors", metadata={"more": "said"})
    written = load_file(tmp_path / "new.safetensors")
    assert torch.equal(written.pop("decoder.conv_in.bias"), new.to(dtype))
    assert own.pop("decoder.conv_in.bias").dtype is dtype
    assert written.keys() == {**own, **others}.keys()
    for name, tensor in {**own, **others}.items():
        assert torch.equal(written[name], tensor) and written[name].dtype is tensor.dtype
    with safe_open(tmp_path / "new.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "title": "mine", "more": "said"}


def test_a_linear_of_diffusers_stays_one(tmp_path, kl_file):
    name, own = "decoder.mid.attn_1.q.weight", load_file(kl_file)
    own[name] = own[name][:, :, 0, 0].clone()
    save_file(own, kl_file)
    new = changed(kl_file, tmp_path / "new.safetensors", name)
    assert torch.equal(load_file(tmp_path / "new.safetensors")[name], new[:, :, 0, 0].float())


@pytest.mark.parametrize("prefix", ["first_stage_model.", "vae."])
def test_a_full_checkpoint_stays_one(tmp_path, prefix):
    weights = {prefix + name: tensor for name, tensor in random_weights("kl", small_kl()).items()}
    save_file({**weights, "model.diffusion_model.out.2.bias": torch.ones(4)}, tmp_path / "full.safetensors")
    changed(tmp_path / "full.safetensors", tmp_path / "new.safetensors")
    old, new = inspect(tmp_path / "full.safetensors"), inspect(tmp_path / "new.safetensors")
    assert (new.prefix, new.layout, new.names, new.others) == (prefix, old.layout, old.names, 1)
    assert torch.equal(load_file(tmp_path / "new.safetensors")["model.diffusion_model.out.2.bias"], torch.ones(4))


def test_a_pickle_becomes_safetensors(tmp_path):
    weights = random_weights("kl", small_kl())
    torch.save({"state_dict": weights}, tmp_path / "x.ckpt")
    changed(tmp_path / "x.ckpt", tmp_path / "new.safetensors")
    written = load_file(tmp_path / "new.safetensors")
    assert all(torch.equal(written[name], weights[name]) for name in weights if name != "decoder.conv_in.bias")


def test_shards_become_one_file(tmp_path):
    weights = list(random_weights("kl", small_kl()).items())
    base, half = "diffusion_pytorch_model", len(weights) // 2
    shards = {f"{base}-1.safetensors": dict(weights[:half]), f"{base}-2.safetensors": dict(weights[half:])}
    for file, part in shards.items():
        save_file(part, tmp_path / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (tmp_path / f"{base}.safetensors.index.json").write_text(json.dumps(index))
    changed(tmp_path, tmp_path / "new.safetensors")
    assert load(tmp_path / "new.safetensors").latent_channels == 4
    assert len(load_file(tmp_path / "new.safetensors")) == len(weights)


def test_a_place_that_cannot_be_written(tmp_path, kl_file):
    with pytest.raises(BadRequest, match="cannot be written"):
        changed(kl_file, tmp_path / "nowhere" / "new.safetensors")
