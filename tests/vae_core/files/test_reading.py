"""What is read is a file, and no longer than it may be."""

import json
import os
from pathlib import Path

import pytest
from exact_vae.vae_core import BadRequest, BrokenCheckpoint, inspect
from exact_vae.vae_core.files.limits import LARGEST_JSON, LARGEST_SETTINGS, MOST_TENSORS
from exact_vae.vae_core.files.reading import LONG, demand_file, parse_json, read_json, read_settings


@pytest.mark.skipif(os.name == "nt", reason="has none of these")
@pytest.mark.parametrize("name", ["x.safetensors", "x.pt", "x.json"])
def test_pipes_and_devices_are_not_read(tmp_path, name):
    os.mkfifo(tmp_path / name)
    (tmp_path / "link").mkdir()
    os.symlink("/dev/zero", tmp_path / "link" / name)
    for path in (tmp_path / name, tmp_path / "link" / name):
        with pytest.raises(BadRequest, match=r"is a (device|pipe), not a file"):
            read_json(path) if name.endswith("json") else inspect(path)


def test_what_is_no_file(tmp_path):
    for path, why in ((tmp_path / "none", "there is no file"), (tmp_path, "is a folder"), (Path("a\0b"), "no file")):
        with pytest.raises(BadRequest, match=why):
            demand_file(path)


def test_json_that_is_too_large_or_too_deep(tmp_path):
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(LARGEST_JSON + 1)
    with pytest.raises(BadRequest, match="is too large for a table of JSON: 16 MiB are the most"):
        read_json(tmp_path / "x.json")
    with pytest.raises(ValueError, match="more than 200 deep"):
        parse_json("[" * 100_000)


def test_long_arrays_of_a_config_json_are_left_out(tmp_path):
    """diffusers writes the statistics of an RAE's latents into it, each number on a line of its own."""
    path, numbers = tmp_path / "config.json", [[[-1.5e-3] * 40] * 40] * 30
    facts = {"_class_name": "AutoencoderRAE", "latents_mean": numbers, "sizes": [1, 2], "std": [numbers, numbers]}
    path.write_text(json.dumps(facts, indent=2))
    assert path.stat().st_size > LONG * 4
    assert read_settings(path) == {**facts, "latents_mean": [], "std": []} and read_json(path) == facts
    short = {"mean": [[0.5] * 10] * 10, "text": "1, 2"}
    path.write_text(json.dumps(short))
    assert read_settings(path) == short
    path.write_bytes(b'{"a": ' + b"[" * LONG + b"}")
    with pytest.raises(ValueError, match=r"more than 200 deep|delimiter|value"):
        read_settings(path)
    with path.open("wb") as file:
        file.truncate(LARGEST_SETTINGS + 1)
    with pytest.raises(BadRequest, match="is too large for a table of JSON: 64 MiB are the most"):
        read_settings(path)


def test_headers_that_are_too_large(tmp_path):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write((LARGEST_JSON + 1).to_bytes(8, "little"))
        file.truncate(LARGEST_JSON + 100)
    with pytest.raises(BrokenCheckpoint, match="has a header of 16777217 bytes"):
        inspect(path)
    entries = ",".join(f'"{i}":0' for i in range(MOST_TENSORS + 1))
    header = f"{{{entries}}}".encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BrokenCheckpoint, match="names 100001 tensors"):
        inspect(path)
