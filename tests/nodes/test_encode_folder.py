"""Encode Folder as a node: what the command writes, within the host's folders, going on where it was cancelled."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from exact_vae.batch import Store
from exact_vae.cli import main
from exact_vae.nodes import NODE_CLASS_MAPPINGS, host
from exact_vae.vae_core import BadRequest, load
from PIL import Image
from support.node_calls import run_node

USUAL = {"folder": "photos", "folder_name": "latents/set", "width": 64, "height": 64, "buckets": "aspect",
         "posterior": "mean", "dtype": "fp32", "step": 16, "samples": 1}  # fmt: skip


@pytest.fixture
def place(tmp_path):
    """input/photos with two images and one that is broken."""
    photos = tmp_path / "input" / "photos"
    photos.mkdir(parents=True)
    for number, size in enumerate([(64, 64), (80, 48)]):
        Image.effect_noise(size, 60).convert("RGB").save(photos / f"{number}.png")
    (photos / "broken.png").write_bytes(b"no image")
    return tmp_path


@pytest.fixture(scope="module")
def vae():
    return load(dtype=torch.float32, device="cpu")


def encode(place: Path, vae, progress=None, **changes):
    with host.surroundings(place, progress, place / "output", place / "input"):
        return run_node("ExactEncodeFolder", vae=vae, **{**USUAL, **changes})


def hashes(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / "shards").iterdir()}


def test_it_writes_what_the_command_writes(place, vae):
    seen = []
    found = encode(place, vae, lambda done, total: seen.append((done, total)))
    path, latents, skipped, sheet = found["result"]
    assert path == str(place / "output" / "latents" / "set") and (latents, skipped) == (2, 1)
    assert (2, 2) in seen and sheet.shape == (1, 512, 256, 3)
    assert found["ui"]["text"][0].startswith(
        "2 latents, 2 encoded now; 1 skipped (1: it is a text); in the output folder: "
    )
    small = ("--area", "64x64", "--step", "16", "--device", "cpu", "--dtype", "fp32")
    assert main(["cache", "build", str(place / "input" / "photos"), str(place / "command"), *small]) == 0
    assert hashes(Path(path)) == hashes(place / "command")
    assert main(["cache", "verify", path]) == 0


def test_cancelled_it_goes_on(place, vae):
    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        if done == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        encode(place, vae, cancel)
    out = place / "output" / "latents" / "set"
    assert len(list(Store(out).read_rows())) < 2 and not list(out.rglob("*.part"))
    assert encode(place, vae)["result"][1] == 2


def test_it_stays_in_the_host_s_folders(place, vae):
    for changes, said in (
        ({"folder": "../elsewhere"}, "lies outside the folder"),
        ({"folder": str(place)}, "lies outside the folder"),
        ({"folder": "nowhere"}, "there is no folder 'nowhere' in the input folder"),
        ({"folder_name": "../out"}, "lies outside the folder"),
        ({"folder_name": str(place / "out")}, "lies outside the folder"),
        ({"folder_name": ""}, "the name of the folder is empty"),
    ):
        with pytest.raises(BadRequest, match=said):
            encode(place, vae, **changes)
    assert not (place / "output").exists() and not (place / "out").exists()


def test_the_menu_of_folders(place):
    (place / "output" / "done" / "more").mkdir(parents=True)
    os.mkdir(place / "input" / ".hidden")
    with host.surroundings(place, None, place / "output", place / "input"):
        cls = NODE_CLASS_MAPPINGS["ExactEncodeFolder"]
        names, _ = cls.INPUT_TYPES()["required"]["folder"]
        assert names == [".", "photos", "done [output]", "done/more [output]"]
        assert all(cls.VALIDATE_INPUTS(name) is True for name in names)
        assert "lies outside" in cls.VALIDATE_INPUTS("../x")


def test_no_image(place, vae):
    (place / "input" / "empty").mkdir()
    with pytest.raises(BadRequest, match=r"there is no image in '.*empty'"):
        encode(place, vae, folder="empty")
