"""Files as programs leave them: nested, under other endings, in parts, quantised; each reads as the plain file does."""

import argparse
import json
import pickle
import shutil
import sys
import types

import pytest
import torch
from exact_vae.vae_core import BadRequest, BrokenCheckpoint, inspect, load
from exact_vae.vae_core.checkpoints.seals import TAIL
from safetensors.torch import save_file
from support.random_networks import random_weights, small_kl


@pytest.fixture(scope="module")
def weights():
    return random_weights("kl", small_kl())


def holds(path, weights) -> bool:
    """Does the file load, and are its numbers these?"""
    found = load(path).network.state_dict()
    return all(torch.equal(found[name], tensor) for name, tensor in weights.items())


NESTED = (
    "model",
    "vae",
    "params",
    "params_ema",
    "model_state_dict",
    "generator",
    "ema",
    "ema_model",
    "net",
    "state_dict",
)


@pytest.mark.parametrize("key", NESTED)
def test_weights_under_one_key(tmp_path, weights, key):
    torch.save({key: weights, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}}, tmp_path / "a.pt")
    assert holds(tmp_path / "a.pt", weights)
    assert inspect(tmp_path / "a.pt").metadata == {"inside": key}


def test_averages_of_training_come_first(tmp_path, weights):
    others = {name: tensor + 1 for name, tensor in weights.items()}
    torch.save({"model": others, "ema": {"state_dict": weights}}, tmp_path / "a.ckpt")
    assert holds(tmp_path / "a.ckpt", weights)
    torch.save({"state_dict": weights, "ema": {"decay": torch.tensor(0.99)}}, tmp_path / "b.ckpt")
    assert holds(tmp_path / "b.ckpt", weights)


@pytest.mark.parametrize("own", [False, True])
def test_each_module_in_its_own_table(tmp_path, weights, own):
    """Read as a decoder alone, such a file gave other images: of a decoder without `post_quant_conv`."""
    modules = {name.partition(".")[0] for name in weights}
    assert modules == {"encoder", "decoder", "quant_conv", "post_quant_conv"}
    tables = {
        key: {name if own else name.removeprefix(key + "."): t for name, t in weights.items() if name.startswith(key)}
        for key in modules
    }
    discriminator = {"main.0.weight": torch.zeros(4, 3, 4, 4)}
    torch.save({"epoch": 3, "model": {**tables, "discriminator": discriminator}}, tmp_path / "a.pt")
    assert holds(tmp_path / "a.pt", weights)
    assert inspect(tmp_path / "a.pt").metadata == {"inside": "model"}


def test_tables_in_lists(tmp_path, weights):
    for content in ([weights], ({"epoch": 1}, weights), {"models": [weights, {"main.0.weight": torch.zeros(3)}]}):
        torch.save(content, tmp_path / "a.pt")
        assert holds(tmp_path / "a.pt", weights)


def test_a_table_that_holds_itself(tmp_path, weights):
    table = {"state_dict": weights}
    table["table"] = table
    torch.save(table, tmp_path / "a.pt")
    assert holds(tmp_path / "a.pt", weights)


@pytest.fixture
def lightning(monkeypatch):
    """A class of a package that is not installed where the file is read."""
    names = ("pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint")
    modules = {name: types.ModuleType(name) for name in names}
    callback = type("ModelCheckpoint", (), {"__module__": names[-1]})
    modules[names[-1]].ModelCheckpoint = callback
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield callback


def test_what_training_programs_leave_beside_weights(tmp_path, weights, lightning, monkeypatch):
    """Old Lightning names its callbacks by their classes, and keeps numbers of numpy."""
    import numpy as np

    beside = {"callbacks": {lightning: {"best": np.float64(0.5), "score": np.float32(1)}}, "lr": np.float64(1e-4)}
    settings = argparse.Namespace(lr=1e-4, size=256)
    torch.save({"state_dict": weights, **beside, "args": settings}, tmp_path / "old.ckpt")
    for name in [name for name in sys.modules if name.startswith("pytorch_lightning")]:
        monkeypatch.delitem(sys.modules, name)
    assert holds(tmp_path / "old.ckpt", weights)


class Sent:
    """Calls a harmless name with what would do harm, were it run."""

    def __reduce__(self):
        return (print, ("code ran",))


def test_nothing_is_run(tmp_path, weights, capsys):
    torch.save({"state_dict": weights, "hook": Sent()}, tmp_path / "a.ckpt")
    with pytest.raises(BrokenCheckpoint, match=r"holds code \(.*print\) beside its weights and was not opened"):
        inspect(tmp_path / "a.ckpt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"a": Sent()}, protocol=2))
    with pytest.raises(BrokenCheckpoint):
        inspect(tmp_path / "b.pt")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("ending", [".pt", ".ckpt", ".bin", ".pth", ".vae.pt", ".sft", ".weights", ""])
@pytest.mark.parametrize("pickled", [False, True])
def test_content_decides_not_the_ending(tmp_path, weights, ending, pickled):
    path = tmp_path / f"file{ending}"
    torch.save(weights, path) if pickled else save_file(weights, path)
    assert holds(path, weights)


FOLDERS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bf16.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "movq/diffusion_pytorch_model.safetensors",
    "vqgan/diffusion_pytorch_model.safetensors",
    "vqvae/diffusion_pytorch_model.safetensors",
    "ae.safetensors",
    "vae/model.safetensors",
    "model.safetensors",
    "the_only_one.safetensors",
)


@pytest.mark.parametrize("file", FOLDERS)
def test_folders(tmp_path, weights, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    save_file(weights, tmp_path / file)
    (tmp_path / "README.md").write_text("a model")
    assert holds(tmp_path, weights)


def test_a_folder_of_several_files(tmp_path, weights):
    for name in ("a.safetensors", "b.safetensors"):
        save_file(weights, tmp_path / name)
    with pytest.raises(BadRequest, match=r"holds 2 files of weights \(a.safetensors, b.safetensors\): name the one"):
        inspect(tmp_path)


def save_shards(
    folder, weights, stem="diffusion_pytorch_model", index="diffusion_pytorch_model.safetensors.index.json"
):
    names = sorted(weights)
    parts = {f"{stem}-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file)
    table = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / index).write_text(json.dumps(table))
    return [folder / file for file in parts]


@pytest.mark.parametrize("chosen", ["folder", "index", "first shard", "second shard"])
@pytest.mark.parametrize("variant", ["", "fp16"])
def test_shards_whatever_is_chosen(tmp_path, weights, chosen, variant):
    stem = "diffusion_pytorch_model" + (f".{variant}" if variant else "")
    index = "diffusion_pytorch_model.safetensors.index" + (f".{variant}" if variant else "") + ".json"
    first, second = save_shards(tmp_path, weights, stem, index)
    assert holds(
        {"folder": tmp_path, "index": tmp_path / index, "first shard": first, "second shard": second}[chosen], weights
    )
    second.unlink()
    with pytest.raises(BadRequest, match="00002-of-00002"):
        inspect(first)


@pytest.mark.parametrize("inside", ["", "/vae", "/vae/diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"])
def test_a_repository_in_the_cache_of_hugging_face(tmp_path, weights, monkeypatch, inside, variable):
    inner = {"HF_HUB_CACHE": ".", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}
    hub = tmp_path / inner[variable]
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    model = hub / "models--org--some-model.v2"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("abc\n")
    (model / "snapshots" / "abc" / "vae").mkdir(parents=True)
    save_file(weights, model / "snapshots" / "abc" / "vae" / "diffusion_pytorch_model.safetensors")
    assert holds(f"org/some-model.v2{inside}", weights)
    with pytest.raises(BadRequest, match="there is no file 'org/other'"):
        load("org/other")


def test_home_and_variables_in_paths(tmp_path, weights, monkeypatch):
    save_file(weights, tmp_path / "a.safetensors")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("MODELS", str(tmp_path))
    for path in ("~/a.safetensors", "$MODELS/a.safetensors"):
        assert holds(path, weights)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("word", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("pickled", [False, True])
def test_quantised_weights_are_multiplied_with_their_scales(tmp_path, weights, dtype, per_channel, word, pickled):
    stored, exact = quantise(weights, dtype, per_channel, word)
    path = tmp_path / "quantised.safetensors"
    torch.save(stored, path) if pickled else save_file(stored, path)
    assert holds(path, exact)
    found = inspect(path)
    convolutions = sum(t.ndim == 4 for t in weights.values())
    assert found.is_whole and found.metadata["quantised"].startswith(f"{convolutions} tensors in ")
    assert found.bytes < sum(t.nbytes for t in weights.values())


def test_a_scale_may_lie_in_another_part_than_its_weight(tmp_path, weights):
    stored, exact = quantise(weights, torch.int8, True, "weight_scale")
    scales = {name for name in stored if name.endswith("weight_scale")}
    for number, names in ((1, stored.keys() - scales), (2, scales)):
        save_file({name: stored[name] for name in names}, tmp_path / f"vae-0000{number}-of-00002.safetensors")
    assert holds(tmp_path / "vae-00001-of-00002.safetensors", exact)
    assert len(inspect(tmp_path / "vae-00001-of-00002.safetensors").files) == 2


def test_a_pickle_that_is_cut_off_holds_no_code(tmp_path, weights):
    """Cut within the name of one of torch's own functions, which then is none of them."""
    torch.save(weights, tmp_path / "whole.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: content.index(b"_rebuild_tensor_v2") + 14])
    with pytest.raises(BrokenCheckpoint, match="is damaged: it is cut off; download it again"):
        inspect(tmp_path / "cut.pt")


def quantise(weights, dtype, per_channel, word):
    """As programs do: convolutions in 8 bits with scales, beside what concerns activations; then what it stands for."""
    stored, exact = {"scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)}, {}
    for name, t in weights.items():
        stored[name] = exact[name] = t
        if name.endswith(".weight") and t.ndim == 4:
            rows = t.flatten(1).abs().amax(1) if per_channel else t.abs().amax().reshape(1)
            scale = (rows / 100).clamp(min=1e-6)
            numbers = t / scale.reshape(-1, 1, 1, 1)
            stored[name] = numbers.round().to(dtype) if dtype is torch.int8 else numbers.to(dtype)
            base = name.removesuffix(".weight")
            stored[f"{base}.{word}"] = scale.reshape(-1, 1) if per_channel else scale.reshape(())
            stored[f"{base}.input_scale"] = torch.tensor(1.0)
            exact[name] = stored[name].float() * scale.reshape(-1, 1, 1, 1)
    return stored, exact


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x08\x07\x12\x07pytorch\x1a\x05" + bytes(200), "is a program in ONNX, not a file of weights"),
        (b"ftrt" + bytes(200), "is an engine of TensorRT, made for one card, not a file of weights"),
        (b"<!doctype html><html></html>", "is a web page (HTML), not a file of weights"),
        (b"Not found\n", "is a text, not a file of weights"),
        (b'{"error": "not found"}', "is a text in JSON, not a file of weights"),
        (b"", "is an empty file, not a file of weights"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS, not a file of weights"),
    ],
)
@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".gguf"])
def test_other_files_are_told_for_what_they_are(tmp_path, content, what, ending):
    path = tmp_path / f"file{ending}"
    path.write_bytes(content)
    with pytest.raises(BrokenCheckpoint) as e:
        inspect(path)
    assert (what in str(e.value) and "safetensors file that it was made of" in str(e.value)) or any(
        word in str(e.value) for word in ("itself", "download it again")
    )


@pytest.mark.parametrize("ending", [".part", ".crdownload", ".incomplete"])
def test_a_download_that_has_not_ended(tmp_path, weights, ending):
    save_file(weights, tmp_path / f"vae.safetensors{ending}")
    with pytest.raises(BrokenCheckpoint, match="is a download that has not ended: finish it, or download it again"):
        inspect(tmp_path / f"vae.safetensors{ending}")


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_download_that_took_its_room_and_did_not_end(tmp_path, share):
    """Its header is there, so it is inspected; what lies behind is not the network."""
    weights = random_weights("kl", small_kl())
    save_file(weights, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    assert len(content) > 2 * TAIL and load(tmp_path / "a.safetensors")
    here = round(share * len(content))
    (tmp_path / "a.safetensors").write_bytes(content[:here] + bytes(len(content) - here))
    with pytest.raises(BrokenCheckpoint, match="ends in zeros, as the file of a download that has not ended does"):
        load(tmp_path / "a.safetensors")


def test_weights_that_are_all_zero_load(tmp_path):
    """People make such files of a header, to try out sizes and times."""
    save_file({name: torch.zeros_like(t) for name, t in random_weights("kl", small_kl()).items()}, tmp_path / "a.sft")
    assert load(tmp_path / "a.sft").latent_channels == 4


def test_a_file_of_zeros(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(bytes(5000))
    with pytest.raises(BrokenCheckpoint, match="is a file of zeros, not a file of weights: download it again"):
        inspect(tmp_path / "a.safetensors")


def test_a_program_of_torchscript(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)), tmp_path / "a.jit")
    shutil.copy(tmp_path / "a.jit", tmp_path / "a.pt")
    for name in ("a.jit", "a.pt"):
        with pytest.raises(BrokenCheckpoint, match="is a TorchScript program"):
            inspect(tmp_path / name)
