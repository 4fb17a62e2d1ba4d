"""encode and decode of several files: a folder of results, one VAE, and no file that stops the others."""

import json
from pathlib import Path

import numpy as np
import pytest
from exact_vae.cli import main
from PIL import Image


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size in (("a.png", (17, 24)), ("b.jpg", (32, 16)), ("C.PNG", (8, 8))):
        levels = np.random.default_rng(len(name)).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(levels).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def latents(images, tmp_path):
    assert run("encode", "-q", images, tmp_path / "latents") == 0
    return tmp_path / "latents"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_of_images_and_back(images, latents, tmp_path, capsys):
    assert names(latents) == ["C.safetensors", "a.safetensors", "b.safetensors"]
    assert run("decode", latents, tmp_path / "back") == 0
    assert names(tmp_path / "back") == ["C.png", "a.png", "b.png"] and "17" in capsys.readouterr().out
    assert Image.open(tmp_path / "back" / "a.png").size == (24, 17)
    assert run("encode", images / "a.png", tmp_path / "one.safetensors") == 0
    assert (latents / "a.safetensors").read_bytes() == (tmp_path / "one.safetensors").read_bytes()


def test_files_and_patterns_side_by_side(images, tmp_path):
    assert run("encode", "-q", images / "*.png", images / "b.jpg", tmp_path / "out") == 0
    assert names(tmp_path / "out") == ["a.safetensors", "b.safetensors"]


def test_a_pattern_of_one_file_stands_for_it(images, tmp_path):
    assert run("encode", "-q", images / "a.*", tmp_path / "one.latent") == 0
    assert (tmp_path / "one.latent").exists()


def test_several_files_and_a_named_folder(latents, tmp_path):
    assert run("decode", "-q", latents / "a.safetensors", latents / "b.safetensors", "--out", tmp_path / "back") == 0
    assert names(tmp_path / "back") == ["a.png", "b.png"]


def test_nothing_to_write_is_wrong_usage(latents, capsys):
    with pytest.raises(SystemExit) as ended:
        run("decode", latents / "a.safetensors")
    assert ended.value.code == 2 and "name the image to write" in capsys.readouterr().err


def test_numbered_images_without_an_ending_are_no_folder(latents, tmp_path, capsys):
    assert run("decode", latents / "a.safetensors", tmp_path / "%05d") == 1
    assert "the ending of no image" in capsys.readouterr().err and not (tmp_path / "%05d").exists()


def test_the_ending_of_images(latents, tmp_path):
    assert run("decode", "-q", latents, "--as", "TIF", "--out", tmp_path / "back") == 0
    assert names(tmp_path / "back") == ["C.tif", "a.tif", "b.tif"]


def test_one_that_fails_stops_no_other(images, tmp_path, capsys):
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run("encode", "--json", images, tmp_path / "out") == 1
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert len(facts) == 4 and [f["source"] for f in facts if "error" in f] == [str(images / "broken.png")]
    assert "1 of 4 files failed" in said.err and len(names(tmp_path / "out")) == 3


def test_a_pattern_or_a_folder_without_files_stops_no_other(images, tmp_path, capsys):
    (images / "empty").mkdir()  # `*` finds it before b.jpg
    out = tmp_path / "out"
    assert run("encode", "--json", tmp_path / "*.webp", images / "*", tmp_path / "gone.png", out) == 1
    said = capsys.readouterr()
    wrong = {Path(facts["source"]).name for facts in json.loads(said.out) if "error" in facts}
    assert wrong == {"*.webp", "empty", "notes.txt", "gone.png"} and len(names(out)) == 3
    assert "no file has a name like" in said.err and "4 of 7 files failed" in said.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("encode", "images/a.png", "images/b.jpg", "one.safetensors"), "is one file, and there are 2 to read"),
        (("encode", "images/*", "one.safetensors"), "'one.safetensors' is one file, and there are "),
        (("encode", "images/*.webp", "out"), "no file has a name like"),
        (("encode", "empty", "out"), "there is no file in 'empty' that ends in .png"),
        (("encode", "images/a.png", "more/A.png", "out"), "would both become"),
        (("encode", "images/a.png", "out.png"), "cannot hold a latent"),
        (("decode", "images/a.png", "out.png", "--as", "jpg"), "--as is for a folder"),
    ],
)
def test_what_cannot_be_meant(images, tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "A.png").write_bytes((images / "a.png").read_bytes())
    assert run(*arguments) == 1
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said and not (tmp_path / "out").exists()


def test_a_folder_in_which_nothing_came_is_not_left(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_text("no latent")
    files = (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert main(["decode", *map(str, files), str(tmp_path / "out")]) == 1
    assert "all 2 files failed." in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a.safetensors", "out", "--as", "xyz"), "--as 'xyz' is the ending of no image or video: give png"),
        (("a.safetensors", "out", "--as", ""), "--as '' is the ending of no image or video"),
        (("a.safetensors", "x.png", "--out", "y.png"), "'x.png' and --out 'y.png' both name the image: leave one out"),
        (("a.safetensors", "x.png", "--device", "foo"), "'foo' cannot be used: there is no such device: give auto"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_read(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.safetensors").write_text("no latent")
    assert main(["decode", *arguments]) == 1
    assert said in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1
