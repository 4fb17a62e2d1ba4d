"""exact-vae train: a layout comes back as it came; runs that were killed or shared end as others do."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.cli import main
from exact_vae.training import tuning
from exact_vae.training.procedural import draw_image
from exact_vae.training.trainer import Trainer
from exact_vae.vae_core import VAE, inspect, load
from PIL import Image
from safetensors.torch import load_file, save_file
from support.random_networks import random_weights, small_kl
from support.tensors import random_images as noise

QUICK = ("--crop", 16, "--batch", 2, "--threads", 1)
PYTHON = (sys.executable, "-m", "exact_vae.cli", "train")


@pytest.fixture
def data(tmp_path) -> Path:
    """Six images."""
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(6):
        Image.fromarray(draw_image(32, np.random.default_rng(i))).save(folder / f"{i}.png")
    return folder


def train(*arguments) -> int:
    return main(["train", *map(str, (*QUICK, *arguments))])


def fails(capsys, *arguments) -> str:
    assert train(*arguments) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("exact-vae: ") and said.err.count("\n") == 1
    return said.err


def diffusers_names(path: Path, target: Path) -> None:
    """The same VAE as diffusers would save it."""
    pytest.importorskip("diffusers")
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    theirs = theirs_of()
    theirs.load_state_dict(convert_ldm_vae_checkpoint(load_file(path), theirs.config))
    save_file(theirs.state_dict(), target)


def theirs_of():
    import diffusers

    return diffusers.AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, layers_per_block=1, block_out_channels=(32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3)  # fmt: skip


def as_it_comes(kind: str, kl_file: Path, folder: Path) -> Path:
    path, own = folder / "vae.safetensors", load_file(kl_file)
    if kind == "diffusers":
        diffusers_names(kl_file, path)
    elif kind == "prefixed":
        others = {"model.diffusion_model.out.2.bias": torch.ones(4)}
        save_file({**{f"first_stage_model.{name}": tensor for name, tensor in own.items()}, **others}, path)
    else:
        dtype = torch.float16 if kind == "fp16" else torch.float32
        save_file({name: tensor.to(dtype) for name, tensor in own.items()}, path)
    return path


@pytest.mark.parametrize("kind", ["ldm", "fp16", "diffusers", "prefixed"])
def test_the_layout_it_came_in(kind, tmp_path, kl_file, data):
    path, out = as_it_comes(kind, kl_file, tmp_path), tmp_path / "out" / "tuned.safetensors"
    assert train("--data", data, "--vae", path, "--out", out, "--steps", 3, "--rate", 1e-3) == 0
    before, after = load_file(path), load_file(out)
    assert {n: (t.shape, t.dtype) for n, t in before.items()} == {n: (t.shape, t.dtype) for n, t in after.items()}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    names = inspect(path).names
    decoder = {old for new, old in names.items() if new.startswith(("decoder.", "post_quant_conv."))}
    assert changed <= decoder and len(changed) > 0.9 * len(decoder)
    assert load(out, dtype=torch.float32).latent_channels == 4
    assert json.loads(inspect(out).metadata["exact_vae.fine_tuned"])["part"] == "decoder"
    assert {p.name for p in out.parent.iterdir()} == {"tuned.safetensors", "tuned-report"}


def test_diffusers_loads_the_result_strictly_and_gives_the_same_pixels(tmp_path, kl_file, data):
    path, out = as_it_comes("diffusers", kl_file, tmp_path), tmp_path / "tuned.safetensors"
    assert train("--data", data, "--vae", path, "--out", out, "--steps", 3, "--part", "all") == 0
    theirs, ours = theirs_of(), load(out)
    theirs.load_state_dict(load_file(out), strict=True)
    x = noise(3, 4).float()
    with torch.no_grad():
        moments = theirs.encode(x).latent_dist
        decoded = theirs.decode(moments.mean).sample
    posterior = ours.encode(x)
    assert torch.allclose(posterior.mean, moments.mean, atol=1e-5)
    assert torch.allclose(ours.decode(posterior.mode()), decoded, atol=1e-5)


def test_all_trains_the_encoder_too(tmp_path, kl_file, data):
    out = tmp_path / "tuned.safetensors"
    assert train("--data", data, "--vae", kl_file, "--out", out, "--steps", 2, "--part", "all") == 0
    before, after = load_file(kl_file), load_file(out)
    assert sum(not torch.equal(before[name], after[name]) for name in before) > 0.9 * len(before)


def test_fine_tuning_helps_on_such_images(tmp_path, kl_file, data, capsys):
    """Random weights know nothing, so there is much to learn."""
    out = tmp_path / "tuned.safetensors"
    assert train("--data", data, "--vae", kl_file, "--out", out, "--steps", 60, "--rate", 2e-3) == 0
    said = capsys.readouterr().out
    psnr_before, psnr_after, *_ = map(float, re.findall(r"\*\*([\d.]+)\*\*", said.split("| **mean** |")[1]))
    assert psnr_after > psnr_before + 1.5
    assert "5 to train on, 1 held out" in said and "Skipped" not in said
    report = (tmp_path / "tuned-report" / "report.md").read_text()
    assert said.split("\n\n")[1] in report
    assert Image.open(tmp_path / "tuned-report" / "report.jpg").height > 3 * 372


def test_what_is_of_no_use_is_listed_at_the_end(tmp_path, kl_file, data, capsys):
    (data / "broken.png").write_bytes((data / "0.png").read_bytes()[:100])
    Image.new("RGB", (1, 1)).save(data / "dot.png")
    for i in range(30):
        (data / f"caption {i:02}.txt").write_text("a caption")
    assert train("--data", data, "--vae", kl_file, "--out", tmp_path / "t.safetensors", "--steps", 1) == 0
    said = capsys.readouterr().out.split("Skipped, 32 of 38 files:")[1]
    assert "- broken.png: " in said and "- caption 00.txt: it has the ending of no image" in said
    assert said.endswith("- and 12 more\n") and said.count("\n- ") == 21
    report = (tmp_path / "t-report" / "report.md").read_text()
    assert report.count("\n- caption") == 30 and "- dot.png: it has 1x1 pixels, crops 16x16" in report


def test_a_killed_run_ends_bit_equal_to_an_unbroken_one(tmp_path, kl_file, data):
    steps = 60
    common = [*PYTHON, "--data", data, "--vae", kl_file, "--steps", steps, "--save-every", 1, *QUICK, "--part", "all"]
    killed, unbroken = tmp_path / "killed.safetensors", tmp_path / "unbroken.safetensors"
    first = subprocess.Popen([*map(str, common), "--out", str(killed)])
    state = killed.with_suffix(".state")
    while not (state.exists() and torch.load(state, weights_only=True)["step"] > 2):
        assert first.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    first.kill()
    first.wait()
    assert not killed.exists()
    assert 2 < torch.load(state, weights_only=True)["step"] < steps
    for out in (killed, unbroken):
        subprocess.run([*map(str, common), "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    assert killed.read_bytes() == unbroken.read_bytes()
    assert not state.exists()


def test_two_processes_end_as_one_does(tmp_path, kl_file, data):
    """But for rounding, which Adam makes large where gradients are nearly nothing: 0.0011 of the way they went."""
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    common = list(
        map(str, ["--data", data, "--vae", kl_file, "--steps", 8, *QUICK, "--part", "all", "--device", "cpu"])
    )
    subprocess.run([*PYTHON, *common, "--out", str(one)], check=True, stdout=subprocess.DEVNULL)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launch, *PYTHON[1:], *common, "--out", str(two)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("result    ") == 1, "one process talks"
    a, b, before = load_file(one), load_file(two), load_file(kl_file)
    way, apart = (torch.cat([(a[n] - x[n]).flatten() for n in a]).norm() for x in (before, b))
    assert apart < 0.01 * way, apart / way
    assert {p.name for p in tmp_path.glob("two*")} == {"two.safetensors", "two-report"}


def test_a_run_of_other_images_is_not_gone_on_with(tmp_path, kl_file, data, capsys, monkeypatch):
    out = tmp_path / "t.safetensors"
    stopped = Trainer.save

    def stop(trainer, path):
        stopped(trainer, path)
        if trainer.step:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "save", stop)
    arguments = ("--data", data, "--vae", kl_file, "--out", out, "--steps", 2)
    assert train(*arguments, "--save-every", 1) == 130
    assert "the same command continues from the last saved step" in capsys.readouterr().err
    monkeypatch.undo()
    for other in (("--rate", 1e-3), ("--part", "all"), ("--seed", 1)):
        assert "t.state' is a run of another recipe" in fails(capsys, *arguments, *other)
    Image.fromarray(draw_image(40, np.random.default_rng(9))).save(data / "9.png")
    assert "t.state' is a run of another recipe" in fails(capsys, *arguments)
    (data / "9.png").unlink()
    assert train(*arguments) == 0


def forbidden(*_, **__):
    pytest.fail("work was done before the error was said")


def test_places_that_cannot_be_written_are_said_before_the_work(capsys, tmp_path, kl_file, data, monkeypatch):
    monkeypatch.setattr(Trainer, "run", forbidden)
    monkeypatch.setattr(VAE, "encode", forbidden)
    common = ("--data", data, "--vae", kl_file)
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_text("")
    assert "it is a folder" in fails(capsys, *common, "--out", tmp_path / "folder.safetensors")
    assert "must end in .safetensors" in fails(capsys, *common, "--out", tmp_path / "x.ckpt")
    assert "cannot be written" in fails(capsys, *common, "--out", tmp_path / "file" / "x.safetensors")
    assert "give the result another name" in fails(capsys, *common, "--out", kl_file)


def test_what_cannot_be_fine_tuned(capsys, tmp_path, data, kl_file):
    own = load_file(kl_file)
    half = {name: tensor for name, tensor in own.items() if name.startswith(("decoder.", "post_quant"))}
    save_file(half, tmp_path / "half.safetensors")
    assert "holds only the decoder" in fails(capsys, "--data", data, "--vae", tmp_path / "half.safetensors")
    save_file(random_weights("kl", small_kl(in_channels=1)), tmp_path / "grey.safetensors")
    assert "do not have 3 channels" in fails(capsys, "--data", data, "--vae", tmp_path / "grey.safetensors")
    save_file({name: tensor.to(torch.float8_e4m3fn) for name, tensor in own.items()}, tmp_path / "fp8.safetensors")
    assert "stored as F8_E4M3" in fails(capsys, "--data", data, "--vae", tmp_path / "fp8.safetensors")
    save_file({"pixel_space_vae": torch.tensor(1.0)}, tmp_path / "pixel.safetensors")
    assert "no Autoencoder-KL" in fails(capsys, "--data", data, "--vae", tmp_path / "pixel.safetensors")


def test_numbers_that_do_not_fit(capsys, data, kl_file, tmp_path):
    common = ("--data", data, "--vae", kl_file, "--out", tmp_path / "t.safetensors")
    assert "use a multiple of 8" in fails(capsys, *common, "--crop", 20)
    assert "no image that can be used" in fails(capsys, *common, "--crop", 64)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--steps", "0"), ("--rate", "0"), ("--rate", "nan"), ("--rate", "x"), ("--part", "encoder")],
)
def test_a_value_that_an_option_cannot_have(tmp_path, option, value):
    with pytest.raises(SystemExit) as error:
        train("--data", tmp_path, "--out", tmp_path / "t.safetensors", option, value)
    assert error.value.code == 2


def test_out_of_memory_is_a_sentence(capsys, data, kl_file, tmp_path, monkeypatch):
    def runs_out(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "run", runs_out)
    said = fails(capsys, "--data", data, "--vae", kl_file, "--out", tmp_path / "t.safetensors")
    assert "training on 2 crops of 16x16 ran out of memory: use a smaller --batch or --crop." in said


def test_a_rate_that_is_too_high_is_a_sentence(capsys, data, kl_file, tmp_path):
    arguments = ("--data", data, "--vae", kl_file, "--out", tmp_path / "t.safetensors", "--rate", 1e30)
    assert "the loss is" in (said := fails(capsys, *arguments)) and "lower rate" in said


def test_the_name_of_the_result(tmp_path, kl_file, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my-vae"
    folder.mkdir()
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(kl_file.read_bytes())
    assert train("--data", data, "--vae", folder, "--steps", 1) == 0
    assert train("--data", data, "--vae", kl_file, "--steps", 1) == 0
    assert (tmp_path / "my-vae-tuned.safetensors").is_file() and (tmp_path / "small-tuned.safetensors").is_file()


def test_the_weight_at_rest_is_what_the_built_in_vae_was_trained_with(tmp_path):
    """0.005 in its recipe. The photograph was never trained on."""
    from exact_vae.training.folder import FolderCrops, Survey
    from exact_vae.training.recipe import ALL, Phase, Tuning
    from exact_vae.vae_core.checkpoints import built_in

    found = Survey(built_in.PHOTOGRAPH.parent, (built_in.PHOTOGRAPH.name,), ())
    course = Tuning("x", phases=(Phase(0.0, (128,), 1),), part=ALL)
    trainer = Trainer(course, FolderCrops(found, 1), start=tuning.open_subject(None).network)
    assert tuning.measure_kl_weight(trainer) == pytest.approx(0.005, rel=0.4)
