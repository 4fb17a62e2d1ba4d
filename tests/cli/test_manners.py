"""What people expect of any command: help, a version, quiet, JSON."""

import argparse
import json
import re
import sys

import numpy as np
import pytest
import torch
from exact_vae.cli import main, parser
from exact_vae.vae_core import __version__
from exact_vae.vae_core.checkpoints import built_in
from exact_vae.vae_core.latents import write_latent
from PIL import Image


def commands(of=None, within=""):
    """Every command by its words: 'plan', 'cache', 'cache build'."""
    found = {}
    for action in (of or parser())._actions:
        for name, command in (action.choices or {}).items() if action.nargs == argparse.PARSER else ():
            found |= {within + name: command, **commands(command, f"{within}{name} ")}
    return found


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture
def image(tmp_path):
    Image.fromarray(np.full((21, 30, 3), 99, np.uint8)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"exact-vae {__version__}\n"


def test_without_arguments_there_is_help(capsys):
    assert main([]) == 0
    said = capsys.readouterr()
    assert "usage: exact-vae" in said.out and "--version" in said.out and not said.err
    assert all(name in said.out for name in commands() if " " not in name)


def test_a_command_of_commands_shows_its_help(capsys):
    assert main(["cache"]) == 0
    said = capsys.readouterr().out
    assert "usage: exact-vae cache" in said and all(word in said for word in ("build", "info", "verify", "export"))


@pytest.mark.parametrize("name", commands())
def test_every_command_can_be_quiet_and_can_answer_in_json(name):
    offered = commands()[name].format_help()
    is_group = any(other.startswith(f"{name} ") for other in commands())
    assert "-q, --quiet" in offered and (is_group or "--json" in offered or name == "completion")


def test_a_shell_completes_commands_options_and_files(capsys):
    pytest.importorskip("shtab", reason="the script for shells is written by shtab")
    assert run("completion", "bash") == 0
    script = capsys.readouterr().out
    assert all(re.search(rf"[(' ]{name}[)' ]", script) for name in commands() if " " not in name)
    assert "--latent-space" in script and "_shtab_compgen_files" in script


def test_without_shtab_it_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert run("completion", "zsh") == 1
    assert capsys.readouterr().err == "exact-vae: completion needs 'shtab': pip install 'exact-vae[cli]'.\n"


def test_quiet_stands_before_or_after_the_action(capsys, tmp_path):
    photographs = built_in.PHOTOGRAPHS["cat"].parent
    for order in (["cache", "-q", "build"], ["cache", "build", "-q"]):
        assert run(*order, photographs, tmp_path / order[1], "--area", "64x64") == 0
        assert capsys.readouterr() == ("", "")


def test_results_as_json(capsys, tmp_path, kl_file, image):
    latent, out = tmp_path / "a.safetensors", tmp_path / "out.png"
    assert run("encode", image, latent, "--vae", kl_file, "--json") == 0
    encoded = json.loads(capsys.readouterr().out)
    assert (encoded["latent"], encoded["size"]) == (str(latent), [21, 30]) and len(encoded["shape"]) == 4
    assert run("decode", latent, out, "--vae", kl_file, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"image": str(out), "width": 30, "height": 21}


def test_a_batch_and_a_workflow_as_json(capsys, tmp_path, kl_file):
    write_latent(tmp_path / "two.safetensors", torch.zeros(2, 4, 2, 2))
    assert run("decode", tmp_path / "two.safetensors", tmp_path / "b.png", "--vae", kl_file, "--json") == 0
    assert json.loads(capsys.readouterr().out)["image"] == str(tmp_path / "b.png")
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "good"}},
    }
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    assert run("run", tmp_path / "graph.json", "--output", tmp_path / "out", "--json") == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert file == str(tmp_path / "out" / "good_00001_.png")


def test_quiet(capsys, tmp_path, kl_file, image, monkeypatch):
    """Also on a terminal: no bar."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    latent = tmp_path / "a.safetensors"
    assert run("encode", "-q", image, latent, "--vae", kl_file) == 0
    assert capsys.readouterr() == ("", "") and latent.exists()
    assert run("encode", "--quiet", image, latent, "--vae", kl_file, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["latent"] == str(latent) and not said.err
    assert run("decode", "-q", tmp_path / "none.latent", tmp_path / "b.png") == 1
    said = capsys.readouterr()
    assert not said.out and said.err.startswith("exact-vae: there is no file")


@pytest.mark.parametrize(
    "arguments",
    [
        ("decode", "", "image.png"),
        ("decode", "latent.safetensors", "image.png", "--vae", ""),
        ("encode", "image.png", ""),
        ("inspect", ""),
        ("run", ""),
        ("cache", "build", "", "out"),
        ("cache", "build", "photos", ""),
        ("cache", "verify", ""),
        ("cache", "export", "out", "", "--format", "musubi"),
        ("train", "--data", ""),
    ],
)
def test_an_empty_name_is_not_this_folder(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and "an empty name, which names no file" in capsys.readouterr().err
