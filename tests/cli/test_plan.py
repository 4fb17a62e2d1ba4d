"""exact-vae plan: what would run, without running it."""

import json
from dataclasses import asdict

import pytest
import torch
from exact_vae.cli import main
from exact_vae.vae_core import load
from exact_vae.vae_core.families.wan import Level, WanConfig
from safetensors.torch import load_file, save_file
from support.random_networks import random_weights
from support.small_networks import SMALL


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def test_the_way_that_would_be_taken_has_an_arrow(capsys):
    assert run("plan", "2048x1024", "--budget", "600MiB", "--device", "cpu") == 0
    title, _, *ways = capsys.readouterr().out.splitlines()
    assert title.startswith("decoding 1 x 2048x1024 in ") and title.endswith(" under 600 MiB")
    assert [way[:2] for way in ways].count("->") == 1
    assert ways[0].split()[-7:-5] == ["16", "1"]  # on a CPU
    assert ways[-1].split()[:4] == ["whole", "1", "all", "device"]


def test_a_clip(capsys, tmp_path):
    """All frames at once, if that is little; the plan is that of the library."""
    levels = (Level(8, 1, True, True), Level(8, 1, False))
    weights = random_weights("wan", WanConfig(4, levels, levels))
    save_file(weights, tmp_path / "wan.safetensors")
    given = (tmp_path / "wan.safetensors", "64x48", "--frames", 9, "--json", "--dtype", "fp32", "--device", "cpu")
    assert run("plan", *given) == 0
    plans = json.loads(capsys.readouterr().out)
    found = load(tmp_path / "wan.safetensors").plan("decode", (1, 4, 5, 24, 32))
    assert plans["plans"][plans["chosen"]] == json.loads(json.dumps(asdict(found)))
    assert found.frames == 0 and found.shape == (9, 3, 48, 64)
    assert run("plan", *given, "--encode") == 0
    assert json.loads(capsys.readouterr().out)["plans"][0]["shape"] == [5, 8, 24, 32]


@pytest.mark.parametrize(("frames", "decoded"), [(1, 1), (4, 1), (5, 5), (8, 5), (9, 9)])
def test_a_clip_has_the_latent_that_its_family_makes_of_it(capsys, tmp_path, frames, decoded):
    """TAEHV makes a latent frame of every four; decoded, the first of them gives one frame."""
    save_file(random_weights(*SMALL["tiny_video"]), tmp_path / "taehv.safetensors")
    given = (tmp_path / "taehv.safetensors", "64x48", "--frames", frames, "--json", "--dtype", "fp32")
    assert run("plan", *given, "--device", "cpu") == 0
    found = json.loads(capsys.readouterr().out)["plans"][0]["shape"]
    assert found == ([decoded, 3, 48, 64] if decoded > 1 else [3, 48, 64])  # one latent frame is run as an image


def test_as_json(capsys, kl_file):
    assert (
        run("plan", kl_file, "512x512", "--budget", "1GiB", "--encode", "--batch", 3, "--json", "--dtype", "fp32") == 0
    )
    facts = json.loads(capsys.readouterr().out)
    chosen = facts["plans"][facts["chosen"]]
    assert facts["budget"] == 2**30
    assert (chosen["images"], chosen["rows"], chosen["shape"]) == (1, 64, [8, 128, 128])
    assert chosen["peak"] <= 2**30 and chosen["work"] > 1e9


def test_an_image_that_is_streamed_is_not_counted(capsys, kl_file):
    peaks = []
    for more in ([], ["--stream"]):
        assert run("plan", kl_file, "1024x1024", "--json", "--dtype", "fp32", *more) == 0
        peaks.append([plan["peak"] for plan in json.loads(capsys.readouterr().out)["plans"]])
    assert peaks[0][-1] == peaks[1][-1]  # whole
    assert {a - b for a, b in zip(peaks[0][:-1], peaks[1][:-1], strict=True)} == {3 * 1024 * 1024 * 4}


def test_what_does_not_fit(capsys, kl_file):
    assert run("plan", kl_file, "4096x4096", "--budget", "10MiB") == 1
    said = capsys.readouterr()
    assert said.out == "" and "needs" in said.err and "only 10 MiB" in said.err


def test_it_is_the_plan_of_the_library(capsys, kl_file):
    assert run("plan", kl_file, "100x240", "--budget", "11MiB", "--json", "--dtype", "fp32", "--device", "cpu") == 0
    facts = json.loads(capsys.readouterr().out)
    plan = load(kl_file, dtype=torch.float32).plan("decode", (1, 4, 60, 25), budget="11MiB")
    assert facts["plans"][facts["chosen"]] == json.loads(json.dumps(asdict(plan)))
    assert plan.rows  # or the budget was no budget


@pytest.mark.parametrize(("doing", "missing"), [([], "decoder"), (["--encode"], "encoder")], ids=["decode", "encode"])
def test_a_half_that_is_not_there(doing, missing, capsys, tmp_path, kl_file):
    half = {name: t for name, t in load_file(kl_file).items() if missing not in name and "quant_conv" not in name}
    save_file(half, tmp_path / "half.safetensors")
    assert run("plan", tmp_path / "half.safetensors", "64x64", *doing) == 1
    said = capsys.readouterr()
    other = "encoder" if missing == "decoder" else "decoder"
    sentence = f"'half.safetensors' holds only the {other}: load it together with the file of its {missing}.\n"
    assert (said.out, said.err) == ("", f"exact-vae: {sentence}")


def test_a_file_that_would_not_load(capsys, tmp_path, kl_file):
    weights = load_file(kl_file)
    save_file({n: t for n, t in weights.items() if n != "decoder.conv_out.bias"}, tmp_path / "broken.safetensors")
    assert run("plan", tmp_path / "broken.safetensors", "64x64") == 1
    assert "decoder.conv_out.bias" in capsys.readouterr().err
    save_file({n: t.to(torch.int8) for n, t in weights.items()}, tmp_path / "integers.safetensors")
    assert run("plan", tmp_path / "integers.safetensors", "64x64") == 1
    assert "quantised VAEs are not supported" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", ""], "'' is no amount of memory"),
        (["--budget", "lots"], "'lots' is no amount of memory"),
        (["--batch", str(10**30)], "more than can be counted"),
        (["--device", "meta"], "the device 'meta' cannot be used"),
    ],
    ids=str,
)
def test_what_cannot_be_met(options, words, capsys):
    assert run("plan", "512x512", *options) == 1
    said = capsys.readouterr()
    assert said.out == "" and words in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("number", ["0", "-2", "1.5", "many", ""])
def test_no_number_of_images(number, capsys):
    with pytest.raises(SystemExit) as error:
        run("plan", "512x512", "--batch", number)
    assert error.value.code == 2
    assert f"argument --batch: a whole number above 0 is needed, not '{number}'" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["512", "0x512", "00x512", "512x512x3", "-1x5", "axb"])
def test_no_size(size, capsys):
    with pytest.raises(SystemExit) as error:
        run("plan", size)
    assert error.value.code == 2
    capsys.readouterr()
