"""python -m exact_vae.training with what it cannot use: one sentence, and exit codes 1 and 2."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from exact_vae.training import images
from exact_vae.training.__main__ import main
from exact_vae.training.procedural import draw_image
from exact_vae.training.recipe import RECIPES, Phase
from exact_vae.training.trainer import Trainer
from exact_vae.vae_core import VAE, load
from PIL import Image


@pytest.fixture
def data(tmp_path):
    """A folder of one photograph to train on and one held out."""
    for side in ("train", "held_out"):
        (tmp_path / "data" / side).mkdir(parents=True)
        Image.fromarray(draw_image(64, np.random.default_rng(0))).save(tmp_path / "data" / side / "x.png")
    return tmp_path / "data"


def fails(capsys, *arguments) -> str:
    """The one sentence on stderr of a command that could not be done."""
    assert main([str(a) for a in arguments]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("training")
    return said.err


def forbidden(*_, **__):
    pytest.fail("work was done before the error was said")


def test_places_that_cannot_be_written_are_said_before_the_work(capsys, tmp_path, data, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr(images, "open_image", forbidden)
    monkeypatch.setattr("urllib.request.urlopen", forbidden)
    monkeypatch.setattr(VAE, "encode", forbidden)
    assert "file/train' cannot be written: Not a directory" in fails(capsys, "fetch", "--data", file)
    assert "it is a file, not a folder" in fails(capsys, "train", "--data", data, "--run", file)
    assert "it is a file, not a folder" in fails(capsys, "evaluate", "--data", data, "--out", file)


@pytest.mark.parametrize(("command", "side"), [("train", "train"), ("evaluate", "held_out")])
def test_photographs_that_cannot_be_read(command, side, capsys, tmp_path, data):
    arguments = (command, "--data", data, {"train": "--run", "evaluate": "--out"}[command], tmp_path / "out")
    (data / side / "x.png").write_text("no photograph")
    assert f"{side}/x.png' cannot be read as an image: " in fails(capsys, *arguments)
    (data / side / "x.png").unlink()
    assert f"there are no photographs in '{data / side}': run fetch first" in fails(capsys, *arguments)
    (data / side).rmdir()
    (data / side).write_text("a file")
    assert f"'{data / side}' cannot be read: Not a directory." in fails(capsys, *arguments)


def test_photographs_smaller_than_the_crops(capsys, tmp_path, data):
    said = fails(capsys, "train", "--data", data, "--run", tmp_path / "run", "--recipe", "demo")
    assert f"no photograph in '{data / 'train'}' has the 256x256 pixels of the largest crops of 'demo'" in said


def test_a_vae_that_cannot_be_measured(capsys, tmp_path, data, kl_file):
    out = ("--data", data, "--out", tmp_path / "out")
    assert "there is no file" in fails(capsys, "evaluate", tmp_path / "none", *out)
    assert "is a PNG image, not a file of weights" in fails(capsys, "evaluate", data / "held_out" / "x.png", *out)
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_there(capsys, tmp_path, data, monkeypatch):
    monkeypatch.setattr(images, "open_image", forbidden)
    said = fails(capsys, "train", "--data", data, "--run", tmp_path / "run", "--device", "cuda:77")
    assert "the device 'cuda:77' cannot be used" in said


@pytest.mark.parametrize("found", ["text", "another file of torch's", "cut off", "a folder"])
def test_a_state_that_is_none(found, capsys, tmp_path, data):
    state = tmp_path / "run" / "tiny.state"
    state.parent.mkdir()
    if found == "a folder":
        state.mkdir()
    elif found == "text":
        state.write_text("no state")
    else:
        torch.save({"weights": torch.zeros(100)}, state)
        state.write_bytes(state.read_bytes()[: 200 if found == "cut off" else None])
    said = fails(capsys, "train", "--recipe", "tiny", "--data", data, "--run", state.parent)
    assert f"'{state}' " in said and ("Is a directory" if found == "a folder" else "no state of a run") in said


@pytest.mark.parametrize(
    ("option", "value"),
    [("--threads", "0"), ("--threads", "-1"), ("--save-every", "0"), ("--save-every", "x"), ("--long-side", "0")],
)
def test_numbers_that_are_not_positive(option, value, capsys, tmp_path):
    command = ["evaluate", "--out"] if option == "--long-side" else ["train", "--run"]
    with pytest.raises(SystemExit) as error:
        main([*command, str(tmp_path), "--data", str(tmp_path), option, value])
    assert error.value.code == 2
    assert f"argument {option}: a whole number above 0 is needed, not '{value}'" in capsys.readouterr().err


def test_a_package_that_is_not_installed(capsys, tmp_path, data, monkeypatch):
    (data / "held_out" / "y.JXL").write_bytes(b"\xff\x0a\x41\x02")  # a header of 8x8 pixels
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    said = fails(capsys, "evaluate", "--data", data, "--out", tmp_path / "out", "--long-side", "8")
    assert "y.JXL' cannot be read as an image: it needs imagecodecs: pip install imagecodecs; take it out" in said


@pytest.mark.parametrize(("command", "again"), [("train", True), ("evaluate", False)])
def test_stopped_by_hand(command, again, capsys, tmp_path, data, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "run", stop)
    monkeypatch.setattr(VAE, "encode", stop)
    out = {"train": ["--recipe", "tiny", "--run"], "evaluate": ["--out"]}[command]
    assert main([command, "--data", str(data), *out, str(tmp_path / "out")]) == 130
    said = capsys.readouterr().err
    assert said.startswith("training: stopped") and ("continues from the last saved step" in said) == again


def test_a_vae_is_named_by_its_file(tmp_path, data, kl_file, monkeypatch):
    """Also where the file is a folder that is named '.'"""
    folder = tmp_path / "my-vae"
    folder.mkdir()
    kl_file.rename(folder / "diffusion_pytorch_model.safetensors")
    monkeypatch.chdir(folder)
    assert main(["evaluate", ".", "--data", str(data), "--out", str(tmp_path / "out"), "--long-side", "16"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"my-vae.md", "my-vae.jpg"}


def test_a_recipe_that_goes_on_from_a_file(capsys, tmp_path, data, kl_file, monkeypatch):
    """Its network and its latents; a state of another file's run is not continued."""
    short = replace(RECIPES["demo-onward"], steps=2, phases=(Phase(0.0, (16,), 1),))
    monkeypatch.setitem(RECIPES, "demo-onward", short)
    command = ["train", "--recipe", "demo-onward", "--data", str(data), "--run", str(tmp_path / "run")]
    assert main([*command, "--start", str(kl_file)]) == 0
    before, after = (
        load(path, dtype=torch.float32) for path in (kl_file, tmp_path / "run" / "demo-onward.safetensors")
    )
    x = torch.rand(1, 3, 16, 16)
    assert after.config == before.config
    assert 0 < (after.encode(x).mean - before.encode(x).mean).abs().max() < 0.1
    assert "is a run of another recipe" in fails(capsys, *command)
    assert "trains a network from nothing: leave --start out." in fails(
        capsys, "train", "--data", data, "--run", tmp_path / "run", "--start", kl_file
    )
