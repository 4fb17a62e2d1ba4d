"""GGUF files, made by ggml's own writer: unpacked to what its own functions say, named as in the file."""

import re

import numpy as np
import pytest
import torch
from exact_vae.vae_core import BrokenCheckpoint, UnknownCheckpoint, inspect, load
from exact_vae.vae_core.checkpoints import ggufs
from exact_vae.vae_core.checkpoints.saving import save
from support.random_networks import random_weights, small_kl

gguf = pytest.importorskip("gguf", reason="gguf is not installed (pip install gguf)")
TYPES = gguf.GGMLQuantizationType
KINDS = ("Q8_0", "Q4_0", "Q5_1", "F16", "BF16", "F32")


@pytest.fixture(scope="module")
def weights():
    return random_weights("kl", small_kl())


def write(path, weights, kind: str, prefix: str = "") -> dict[str, torch.Tensor]:
    """As converters do: vectors in fp32, what does not divide into blocks flattened, and its shape in a field."""
    writer, exact = gguf.GGUFWriter(path, arch="vae"), {}
    for name, t in weights.items():
        array, how = t.numpy(), TYPES[kind] if t.ndim > 1 else TYPES.F32
        if how in (TYPES.Q8_0, TYPES.Q4_0, TYPES.Q5_1):
            if t[0].numel() % 32:
                how = TYPES.F16
            else:
                array = array.reshape(len(array), -1)
                writer.add_array(f"program.gguf.orig_shape.{prefix}{name}", list(t.shape))
        stored = gguf.quants.quantize(array, how) if how not in (TYPES.F16, TYPES.F32) else array
        stored = stored.astype(np.float16) if how == TYPES.F16 else stored
        writer.add_tensor(prefix + name, stored, raw_dtype=how)
        known = how in (TYPES.F16, TYPES.F32)
        numbers = stored.astype(np.float32) if known else gguf.quants.dequantize(stored, how)
        exact[name] = torch.from_numpy(numbers.copy()).reshape(t.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return exact


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_numbers_are_those_that_the_package_says(tmp_path, weights, kind, prefix):
    exact = write(tmp_path / "a.gguf", weights, kind, prefix)
    found, vae = inspect(tmp_path / "a.gguf"), load(tmp_path / "a.gguf", dtype=torch.float32)
    assert found.is_whole and (found.family, found.prefix) == ("kl", prefix)
    have = vae.network.state_dict()
    assert all(torch.equal(have[name], tensor) for name, tensor in exact.items())
    assert not vae.mapped
    if kind.startswith("Q"):
        assert re.fullmatch(rf"\d+ tensors in {kind}, blocks of GGUF", found.metadata["quantised"])
        assert found.bytes < sum(t.nbytes for t in weights.values()) / 2
    else:
        assert "quantised" not in found.metadata


def test_it_runs_and_is_saved_as_what_it_stands_for(tmp_path, weights):
    exact = write(tmp_path / "a.gguf", weights, "Q8_0")
    vae = load(tmp_path / "a.gguf")
    z = vae.encode(torch.zeros(1, 3, 8, 8)).mode()
    assert z.isfinite().all()
    save(vae, tmp_path / "b.safetensors")
    again = load(tmp_path / "b.safetensors").network.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in exact.items())


def test_a_file_that_is_cut_off(tmp_path, weights):
    write(tmp_path / "a.gguf", weights, "F16")
    content = (tmp_path / "a.gguf").read_bytes()
    for size in (9, 40, len(content) // 50, len(content) // 2, len(content) - 40):
        (tmp_path / "cut.gguf").write_bytes(content[:size])
        with pytest.raises(BrokenCheckpoint, match="is damaged or cut off, it cannot be read as GGUF"):
            inspect(tmp_path / "cut.gguf")


def test_bytes_that_are_changed_are_at_most_a_sentence(tmp_path, weights):
    write(tmp_path / "a.gguf", {n: t for n, t in weights.items() if n.startswith("decoder.conv")}, "F16")
    content = (tmp_path / "a.gguf").read_bytes()
    for at in range(4, 400, 7):
        (tmp_path / "bent.gguf").write_bytes(content[:at] + bytes([content[at] ^ 0x5A]) + content[at + 1 :])
        with pytest.raises((UnknownCheckpoint, BrokenCheckpoint)):
            load(tmp_path / "bent.gguf")


def test_without_the_package_it_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(ggufs, "find_spec", lambda name: None)
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(200))
    with pytest.raises(
        UnknownCheckpoint, match=r"is a GGUF file.*: install gguf to read it \(pip install gguf\), or take"
    ):
        inspect(tmp_path / "a.gguf")
