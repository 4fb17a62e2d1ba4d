"""Files and folders of weights, good and bad."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from exact_vae.vae_core import BadRequest, BrokenCheckpoint, DoesNotFit, UnknownCheckpoint, inspect, load
from exact_vae.vae_core.checkpoints.files import open_checkpoint
from safetensors.torch import save_file
from support.random_networks import random_weights, small_kl


class Code:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


@pytest.fixture
def weights():
    return random_weights("kl", small_kl())


def pixels_of(path):
    """A decode that shows the weights were read right."""
    return load(path).decode(torch.linspace(-1, 1, 4 * 16).reshape(1, 4, 4, 4))


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_pickles_equal_safetensors(tmp_path, kl_file, weights, suffix, nested, zipped):
    path = tmp_path / f"a{suffix}"
    content = {"state_dict": weights, "epoch": 3} if nested else weights
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert inspect(path).shapes == inspect(kl_file).shapes
    assert torch.equal(pixels_of(path), pixels_of(kl_file))


@pytest.mark.parametrize("method", (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
def test_an_archive_that_was_packed_anew_is_read_right_or_refused(tmp_path, weights, method):
    """torch maps an archive's entries as if none were compressed, and reads other than deflated ones not at all."""
    torch.save(weights, plain := tmp_path / "plain.pt")
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path := tmp_path / "packed.pt", "w", method) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    try:
        found = dict(open_checkpoint(path).tensors(weights))
    except BrokenCheckpoint:
        assert method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        return
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("name", ["packed.pt", "packed.safetensors"])
def test_an_archive_is_unpacked_only_if_there_is_room(tmp_path, monkeypatch, name):
    torch.save({"a": torch.zeros(100_000)}, plain := tmp_path / "plain.pt")
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path := tmp_path / name, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
    assert path.stat().st_size < 20_000
    open_checkpoint(path)
    monkeypatch.setattr("exact_vae.vae_core.execution.plans.budget.free", lambda device: 300_000)
    with pytest.raises(DoesNotFit, match=r"packed.* is compressed, so it is unpacked into memory, which takes 0.4 MiB"):
        open_checkpoint(path)
    open_checkpoint(plain)  # is mapped


@pytest.mark.parametrize("zipped", [False, True])
def test_code_in_a_pickle_is_not_run(tmp_path, weights, zipped):
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": weights, "hook": Code()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        BrokenCheckpoint, match=r"holds code \(.*exec\) beside its weights and was not opened; use a .safetensors"
    ):
        inspect(path)


def test_a_bare_pickle_with_code_is_not_run(tmp_path):
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"a": Code()}, protocol=2))
    with pytest.raises(BrokenCheckpoint, match=r"was not opened|is damaged"):
        inspect(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is an empty file, not a file of weights"),
        (b"hello, this is text", "is a text, not a file of weights"),
        (b"\xe4 in an older code", "is damaged or no PyTorch file"),
        (b"PK\x03\x04 and then nothing", "is damaged or no PyTorch file"),
    ],
)
def test_a_broken_pickle_gets_a_sentence(tmp_path, content, words):
    path = tmp_path / "broken.pt"
    path.write_bytes(content)
    with pytest.raises(BrokenCheckpoint, match=words):
        inspect(path)


def test_a_truncated_pickle_gets_a_sentence(tmp_path, weights):
    path = tmp_path / "cut.pt"
    torch.save(weights, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BrokenCheckpoint, match="is damaged or no PyTorch file"):
        inspect(path)


def test_a_pickle_without_tensors(tmp_path):
    path = tmp_path / "empty.pt"
    torch.save({"a": 1}, path)
    with pytest.raises(UnknownCheckpoint, match="holds no tensors by name"):
        inspect(path)


@pytest.mark.parametrize("cut", [8, 1000, -1])
def test_a_truncated_safetensors_file(tmp_path, kl_file, cut):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(kl_file.read_bytes()[:cut])
    with pytest.raises(BrokenCheckpoint, match=r"cut off|only 8 bytes long"):
        inspect(path)


def test_no_file(tmp_path):
    with pytest.raises(BadRequest, match="there is no file"):
        inspect(tmp_path / "none.safetensors")


def test_a_folder_without_a_vae(tmp_path):
    with pytest.raises(BadRequest, match="holds no VAE"):
        inspect(tmp_path)


@pytest.mark.parametrize("place", ["", "vae"])
@pytest.mark.parametrize("name", ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"])
def test_a_diffusers_folder(tmp_path, kl_file, place, name):
    folder = tmp_path / "model"
    (folder / place).mkdir(parents=True)
    shutil.copy(kl_file, folder / place / name)
    assert torch.equal(pixels_of(folder), pixels_of(kl_file))


def test_a_diffusers_folder_with_a_pickle(tmp_path, kl_file, weights):
    torch.save(weights, tmp_path / "diffusion_pytorch_model.bin")
    assert torch.equal(pixels_of(tmp_path), pixels_of(kl_file))


def shards(folder, weights, index=None):
    names = sorted(weights)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({n: weights[n] for n in part}, folder / file)
    table = {"weight_map": {n: file for file, part in halves.items() for n in part}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index or table))


def test_shards(tmp_path, kl_file, weights):
    folder = tmp_path / "sharded"
    folder.mkdir()
    shards(folder, weights)
    assert torch.equal(pixels_of(folder), pixels_of(kl_file))
    assert len(inspect(folder).files) == 2


@pytest.mark.parametrize(
    ("index", "error", "words"),
    [
        ({"weight_map": {"x": "../../../outside.safetensors"}}, BadRequest, "not beside it: outside.safetensors"),
        ({"weight_map": {"x": "."}}, BadRequest, "not beside it"),
        ({"weights": 1}, BrokenCheckpoint, "no index of shards"),
        ([], BrokenCheckpoint, "no index of shards"),
        ({"weight_map": {"x": 3}}, BrokenCheckpoint, "no index of shards"),
    ],
)
def test_a_bad_index(tmp_path, weights, index, error, words):
    folder = tmp_path / "sharded"
    folder.mkdir()
    save_file({"x": torch.zeros(1)}, tmp_path / "outside.safetensors")
    shards(folder, weights, index)
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(error, match=words):
        inspect(folder)


@pytest.mark.parametrize("config", ["[]", "{", "3"])
def test_a_bad_config_in_a_folder(tmp_path, kl_file, config):
    shutil.copy(kl_file, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(BrokenCheckpoint, match=r"config\.json' cannot be read"):
        load(tmp_path)


def test_no_tensor_is_read_for_an_inspection(tmp_path, kl_file, monkeypatch):
    monkeypatch.setattr("safetensors.safe_open", None)
    assert inspect(kl_file).family == "kl"


def mapped(path) -> list[range]:
    """The addresses at which this process has mapped the file."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ends = [line.split()[0].split("-") for line in lines if line.endswith(str(path))]
    return [range(int(start, 16), int(end, 16)) for start, end in ends]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
@pytest.mark.parametrize("pickled", [False, True])
def test_weights_stay_on_the_file_s_memory_map(tmp_path, kl_file, weights, pickled):
    """Loaded in the file's own dtype, every weight lies in the mapped file: there is no copy of it."""
    path = kl_file
    if pickled:
        torch.save(weights, path := tmp_path / "a.pt")
    vae = load(path)
    places = mapped(path)
    assert places
    assert all(any(t.data_ptr() in place for place in places) for t in vae.network.state_dict().values())
    cast = load(path, dtype=torch.bfloat16)
    assert not any(t.data_ptr() in place for t in cast.network.state_dict().values() for place in mapped(path))


def test_a_checkpoint_of_7_gb_is_inspected_from_its_header(tmp_path, weights, monkeypatch):
    """The file is sparse; only its header can be read here, for what reads tensors is taken away."""
    shapes = {f"first_stage_model.{n}": tuple(t.shape) for n, t in weights.items()}
    shapes["model.diffusion_model.big"] = (7, 2**30 // 4)
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    monkeypatch.setattr("safetensors.safe_open", None)
    found = inspect(path)
    assert (path.stat().st_size > 7 * 2**30, found.prefix, found.others) == (True, "first_stage_model.", 1)


def test_an_unaligned_file(tmp_path, weights, kl_file):
    """A header of odd length puts tensors at odd addresses; their values must not depend on it."""
    path = tmp_path / "odd.safetensors"
    content = kl_file.read_bytes()
    n = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + n].rstrip(b" ")
    text += b" " * (1 - len(text) % 2)
    assert len(text) % 2 == 1
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n :])
    assert torch.equal(pixels_of(path), pixels_of(kl_file))


def test_a_pickle_that_holds_itself(tmp_path, weights):
    """A state dict within itself, twice removed, is gone into once."""
    one, two = dict(weights), {}
    one["state_dict"], two["state_dict"] = two, one
    torch.save(two, tmp_path / "x.ckpt")
    assert inspect(tmp_path / "x.ckpt").family == "kl"
    empty: dict = {}
    empty["state_dict"] = empty
    torch.save(empty, tmp_path / "x.ckpt")
    with pytest.raises(UnknownCheckpoint, match="holds no tensors by name"):
        inspect(tmp_path / "x.ckpt")
