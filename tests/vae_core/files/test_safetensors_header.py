"""Headers of safetensors files: what is refused, and in which words."""

import json
import random
import struct

import pytest
import torch
from exact_vae.vae_core import BrokenCheckpoint, UnknownCheckpoint, inspect
from exact_vae.vae_core.files import safetensors_header
from exact_vae.vae_core.files.safetensors_header import read_header
from safetensors.torch import save_file


def write(path, header, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def entry(shape=(2,), offsets=(0, 8), dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_reads_what_safetensors_writes(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(2, 3), "y": torch.zeros(4, dtype=torch.bfloat16)}, path, metadata={"k": "v"})
    header, metadata = read_header(path)
    assert {name: (tuple(i["shape"]), i["dtype"]) for name, i in header.items()} == {
        "x": ((2, 3), "F32"),
        "y": ((4,), "BF16"),
    }
    assert metadata == {"k": "v"}


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (b"{    ", b"", "cannot be read"),
        (b"[" * 100_000, b"", "cannot be read"),
        (b'{"a": 1, "a": 2}', b"", "a name occurs twice"),
        (b"[1, 2]", b"", "no table of tensors"),
        ({"x": 3}, b"", "no dtype, shape and data_offsets"),
        ({"x": entry(dtype="F31")}, b"\0" * 8, "the unknown dtype 'F31'"),
        ({"x": entry(shape=(-2,))}, b"\0" * 8, "the impossible shape [-2]"),
        ({"x": entry(shape=(True, 2))}, b"\0" * 8, "the impossible shape"),
        ({"x": entry(shape=(1.0, 2))}, b"\0" * 8, "the impossible shape"),
        ({"x": entry(shape=(2**62, 2**62))}, b"\0" * 8, "the impossible shape"),
        ({"x": entry(shape=(2**62, 2**62, 0), offsets=(0, 0))}, b"", "the impossible shape"),
        ({"a\ud800": entry()}, b"\0" * 8, "the unprintable name"),
        ({"a\nb": entry()}, b"\0" * 8, "the unprintable name"),
        (json.dumps({"x": entry()}).encode("utf-16"), b"\0" * 8, "cannot be read"),
        (b"\xef\xbb\xbf" + json.dumps({"x": entry()}).encode(), b"\0" * 8, "cannot be read"),
        ({"x": entry(offsets=(0,))}, b"\0" * 8, "the impossible offsets"),
        ({"x": entry(offsets=(8, 16))}, b"\0" * 16, "should begin at 0"),
        ({"x": entry(), "y": entry()}, b"\0" * 8, "should begin at 8"),
        ({"x": entry(offsets=(0, 12))}, b"\0" * 12, "takes 8 bytes"),
        ({"x": entry()}, b"\0" * 7, "is cut off: its header describes 8 bytes of tensors, the file holds 7"),
        ({"x": entry()}, b"\0" * 9, "is damaged: its header describes 8 bytes of tensors, the file holds 9"),
        ({"__metadata__": {"a": 1}, "x": entry()}, b"\0" * 8, "the metadata in its header is not text"),
    ],
)
def test_refuses_a_hostile_header(tmp_path, header, data, words):
    path = tmp_path / "bad.safetensors"
    write(path, header, data)
    with pytest.raises(BrokenCheckpoint) as e:
        read_header(path)
    assert words in str(e.value)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is an empty file, not a file of weights"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "is a pointer of Git LFS, not a file of weights: fetch the file itself with `git lfs pull`",
        ),
        (b"text of any kind", "is a text, not a file of weights"),
        (b"<!DOCTYPE html><html>", "is a web page (HTML), not a file of weights: download the file itself"),
        (
            b"\x89PNG\r\n\x1a\n" + bytes(40),
            "is a PNG image, not a file of weights: `exact-vae encode` makes its latent",
        ),
        (
            b'{"last_node_id": 3, "nodes": []}',
            "is a workflow of nodes, not a file of weights: run it with `exact-vae run`",
        ),
        (b"PK\x03\x04" + b"\0" * 40, "is damaged or no PyTorch file; download it again"),
        (struct.pack("<Q", 10**12) + b"{}", "or cut off: its header would take 1000000000000 of its 10 bytes"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "or cut off"),
    ],
)
def test_refuses_what_is_no_safetensors_file(tmp_path, content, words):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(
        BrokenCheckpoint, match=r"(download|fetch|run) (it again|the file|it)|give it the ending|encode"
    ):
        inspect(path)
    with pytest.raises(BrokenCheckpoint) as e:
        inspect(path)
    assert words in str(e.value)


@pytest.mark.parametrize("metadata", ["null", "[]", '{"a": 1}', '"text"', "3"])
def test_metadata_that_is_none(tmp_path, metadata):
    tensors = json.dumps({"x": entry()})
    write(tmp_path / "a.safetensors", f'{{"__metadata__":{metadata},{tensors[1:]}'.encode(), b"\0" * 8)
    with pytest.raises(BrokenCheckpoint, match="the metadata in its header is not text"):
        read_header(tmp_path / "a.safetensors")


def test_files_of_one_table_are_told_apart(tmp_path):
    """A table that another file had is not read again: metadata and the length of the file are its own."""
    table = {"x": entry(), "y": entry(offsets=(8, 16))}
    for name in "ab":
        write(tmp_path / name, {"__metadata__": {"title": name}, **table}, b"\0" * 16)
    write(tmp_path / "cut", {"__metadata__": {"title": "c"}, **table}, b"\0" * 15)
    write(tmp_path / "bare", table, b"\0" * 16)
    first, second = read_header(tmp_path / "a"), read_header(tmp_path / "b")
    assert first[0] == second[0] == read_header(tmp_path / "bare")[0]
    assert list(second[0]) == ["x", "y"] and (first[1], second[1]) == ({"title": "a"}, {"title": "b"})
    second[0].clear()
    assert len(read_header(tmp_path / "a")[0]) == 2
    with pytest.raises(
        BrokenCheckpoint, match="is cut off: its header describes 16 bytes of tensors, the file holds 15"
    ):
        read_header(tmp_path / "cut")


@pytest.mark.parametrize(
    "text", [b'{"__metadata__":{}', b'{"__metadata__":{}}', b'{"__metadata__":{},}', b'{"__metadata__":{} "x":1}']
)
def test_metadata_and_nothing_more(tmp_path, text):
    write(tmp_path / "a", text, b"")
    if text.endswith(b"{}}"):
        assert read_header(tmp_path / "a") == ({}, {})
        return
    with pytest.raises(BrokenCheckpoint, match="cannot be read"):
        read_header(tmp_path / "a")


def test_metadata_twice_is_the_last(tmp_path):
    tensors = json.dumps({"x": entry(), "__metadata__": {"a": "2"}})
    write(tmp_path / "a", f'{{"__metadata__": {{"a": "1"}}, {tensors[1:]}'.encode(), b"\0" * 8)
    assert read_header(tmp_path / "a")[1] == {"a": "2"} and list(read_header(tmp_path / "a")[0]) == ["x"]


ODD = [True, 1.0, "1", None, -1, 0, 2, 8, 2**63, 2**80, [], {}, [2], "F16", "F31", "I8"]


def bend(pick: random.Random, header: dict) -> None:
    """One value of one entry, or the entry itself, is something else."""
    name = pick.choice(list(header))
    key = pick.choice(["dtype", "shape", "data_offsets", "more", ""])
    if not key:
        header[name] = pick.choice(ODD)
    elif isinstance(header[name], dict):
        old = header[name].get(key)
        if isinstance(old, list) and old and pick.random() < 0.7:
            old[pick.randrange(len(old))] = pick.choice(ODD)
        else:
            header[name][key] = pick.choice(ODD)


def outcome(path) -> str:
    try:
        return str(read_header(path))
    except BrokenCheckpoint as e:
        return str(e)


def test_the_quick_look_refuses_what_the_long_one_does(tmp_path, monkeypatch):
    """A header is sound at a glance only if the long way, which names what is wrong, finds nothing."""
    path, pick, quick = tmp_path / "a.safetensors", random.Random(5), []
    for turn in range(400):
        header = {"x": entry(), "y": entry((2, 1), (8, 16)), "z": entry((0, 3), (16, 16))}
        header |= {"w": entry((4,), (16, 24), "BF16")}
        names = list(header)
        pick.shuffle(names)
        header = {name: header[name] for name in names}
        for _ in range(turn % 3):
            bend(pick, header)
        write(path, header, bytes(24 - 8 * (turn % 17 == 3)))
        quick.append(outcome(path))
        with monkeypatch.context() as patch:
            patch.setattr(safetensors_header, "_is_sound", lambda header, data: False)
            assert outcome(path) == quick[-1], header
    assert len({one.replace(str(path), "")[:20] for one in quick}) > 5


def test_a_verdict_that_is_known_is_said_anew(tmp_path):
    """Files of the same names and shapes are judged once; each gets a sentence of its own, and its own dtypes."""
    for name, dtype in (("a", torch.float32), ("b", torch.float16)):
        save_file({"some.weight": torch.zeros(2, 2, dtype=dtype)}, tmp_path / f"{name}.safetensors")
    said = []
    for name in ("a", "b", "a"):
        with pytest.raises(UnknownCheckpoint, match=f"{name}.safetensors': no VAE was found") as e:
            inspect(tmp_path / f"{name}.safetensors")
        said.append(str(e.value))
    assert said[0] == said[2] and said[0].count("no VAE was found") == 1
