"""exact-vae doctor and exact-vae env."""

import json
from pathlib import Path

import pytest
import torch
from exact_vae.cli import main
from exact_vae.nodes import host
from exact_vae.nodes.images import to_pixels
from exact_vae.vae_core import doctor, load, read_latent, readers, verdicts
from exact_vae.vae_core.doctor import environment
from PIL import Image
from support import lying_devices


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home folder, with the cache in it."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv(verdicts.VARIABLE, str(tmp_path / "cache"))
    lying_devices.examine_briefly(monkeypatch)
    return tmp_path


def test_a_verdict_and_a_table(capsys, home, kl_file):
    assert run("doctor", kl_file, "--widths", 64, "--device", "cpu", "--dtypes", "fp32") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("fp32 is right on ") and printed.count("| right |") == 4
    assert "Nothing has to be gone around; the verdict is kept in '~" in printed and str(home) not in printed
    (verdict,) = verdicts.read_all()
    assert verdict.vae == load(kl_file).fingerprint and verdict.name == kl_file.name


def test_a_device_that_lies_is_gone_around_by_the_next_command(capsys, home, kl_file, monkeypatch):
    """Of a VAE in bf16 nothing is left of what its device does wrongly: the latent is that of its weights in fp32."""
    lying_devices.replace_conv2d(monkeypatch, torch.bfloat16, lying_devices.not_a_number)
    image = home / "image.png"
    Image.new("RGB", (32, 24), "teal").save(image)
    assert run("doctor", kl_file, "--widths", 64, "--dtypes", "fp32", "bf16") == 0
    assert "bf16 encode is wrong" in capsys.readouterr().out
    assert run("encode", image, home / "half.latent", "--vae", kl_file, "--dtype", "bf16") == 0
    vae = load(kl_file, dtype=torch.bfloat16)
    pixels = to_pixels(readers.read(image)[0], 3)
    want = verdicts.copy_to(vae, vae.device, torch.float32).encode(pixels).mode()
    assert torch.equal(read_latent(home / "half.latent")[0], want)


def test_a_folder_of_results(capsys, home, kl_file):
    assert run("doctor", kl_file, "--widths", 64, "--dtypes", "fp32", "--out", home / "found", "--forget") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-3:] == [str(home / "found" / f"doctor.{end}") for end in ("md", "json", "png")]
    assert "No verdict is kept" in printed and not list(verdicts.read_all())
    assert printed.startswith((home / "found" / "doctor.md").read_text().strip())
    assert json.loads((home / "found" / "doctor.json").read_text())["findings"]["fp32"]["decode"]["right"]
    with Image.open(home / "found" / "doctor.png") as image:
        assert image.width > 1000 and image.height > 500


def test_json_and_an_image(capsys, home, kl_file):
    options = ("--widths", 64, "--dtypes", "fp32", "--json", "--out", home / "errors.png")
    assert run("doctor", kl_file, *options) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["sentence"].startswith("fp32 is right on") and len(facts["trials"]) == 4
    assert Image.open(home / "errors.png").size[0] > 1000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "errors.xyz"], "the ending of no image"),
        (["--device", "nonsense"], "cannot be used"),
        (["no.safetensors"], "there is no file"),
    ],
)
def test_bad_input_gets_one_sentence(capsys, monkeypatch, tmp_path, options, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.examination, "make_cases", lambda *all: pytest.fail("it has begun"))
    assert run("doctor", *options) == 1
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and not printed.out


@pytest.mark.parametrize("options", [["--widths", "32"], ["--widths", "x"], ["--dtypes", "int8"]])
def test_wrong_usage(capsys, options):
    with pytest.raises(SystemExit) as e:
        run("doctor", *options)
    assert e.value.code == 2


def test_the_vae_is_not_written_over(capsys, kl_file, tmp_path):
    picture = tmp_path / "vae.png"
    picture.write_bytes(kl_file.read_bytes())
    assert run("doctor", picture, "--out", picture) == 1
    assert "is an input of this command" in capsys.readouterr().err


def test_the_environment(capsys, home, monkeypatch):
    monkeypatch.setenv("EXACT_VAE_SCRATCH", str(home / "scratch"))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run("env") == 0
    text = capsys.readouterr().out
    sections = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert sections[:3] == ["versions", "system", "cpu"] and sections[-2:] == ["flags", "variables"]
    for word in (torch.__version__, "a file in bf16 runs in", "TF32 in cuDNN", "attention", "safetensors"):
        assert word in text
    assert str(home) not in text and "~" in text
    assert run("env", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["torch"] == torch.__version__ and facts["flags"]["default dtype"] == "fp32"
    assert facts["variables"]["OMP_NUM_THREADS"] == "3" and facts["verdicts"] == {}


def test_it_says_what_was_found_before(capsys, home, kl_file):
    run("doctor", kl_file, "--widths", 64, "--dtypes", "fp32")
    capsys.readouterr()
    run("env", "--json")
    ((who, sentence),) = json.loads(capsys.readouterr().out)["verdicts"].items()
    assert who.startswith("small.safetensors on ") and sentence.startswith("fp32 is right on")


def test_flags_as_they_are(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    flags = environment.read_environment({})["flags"]
    assert "benchmark True" in flags["cuDNN"]
    monkeypatch.setattr(torch, "get_float32_matmul_precision", refuse)
    told = environment.read_environment({})["flags"]["float32 matmul precision"]
    assert told == "not told: mixed words"


def refuse() -> str:
    raise RuntimeError("mixed words\nmore of it")


def test_comfyui_s_version_is_that_of_the_folder_around(monkeypatch, tmp_path, capsys):
    assert host.find_version() is None
    monkeypatch.setattr(host.place, "PACK", tmp_path / "custom_nodes" / "pack")
    (tmp_path / "comfyui_version.py").write_text('# generated\n__version__ = "0.3.99"\n')
    assert host.find_version() == "0.3.99"
    assert run("env", "--json") == 0
    assert json.loads(capsys.readouterr().out)["versions"]["ComfyUI"] == "0.3.99"
