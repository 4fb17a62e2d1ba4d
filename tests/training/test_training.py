"""Training lowers the loss, a killed run ends as an unbroken one, and what it writes is a file like any other."""

import copy
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.training import curves, results
from exact_vae.training.__main__ import main
from exact_vae.training.growing import ops_without_top
from exact_vae.training.images import Images, Pyramid
from exact_vae.training.losses import compute_loss
from exact_vae.training.optimizers import orthogonalize
from exact_vae.training.procedural import draw_image
from exact_vae.training.recipe import DEMO, MUON, RECIPES, TINY
from exact_vae.training.trainer import Trainer, forget_diverged
from exact_vae.training.widening import widen
from exact_vae.vae_core import BadRequest, NumericalOverflow, Posterior, inspect, load
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.families.kl import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file
from support.slow import slow
from torch.nn.functional import avg_pool2d

FALL = 3.0  # by how much training for TINY.steps steps divides the loss of its first steps, at least


def images() -> Images:
    photographs = [Pyramid(Image.fromarray(draw_image(96, np.random.default_rng(i))), 16) for i in range(8)]
    return Images(photographs, share_drawn=TINY.drawn, seed=TINY.seed)


@pytest.fixture(scope="module")
def trained() -> Trainer:
    trainer = Trainer(TINY, images())
    trainer.run()
    return trainer


def test_the_loss_falls(trained):
    losses = [row["loss"] for row in trained.history]
    assert len(losses) == TINY.steps // trained.log_every
    assert np.mean(losses[-2:]) * FALL < losses[0]


def test_what_has_diverged_is_not_kept(tmp_path):
    trainer = Trainer(replace(TINY, learning_rate=1e30, warmup=1), images())
    with pytest.raises(NumericalOverflow, match="start again at a lower rate"):
        trainer.run(until=4)
    with pytest.raises(NumericalOverflow, match="nothing of it is kept"):
        trainer.save(tmp_path / "state")
    assert not list(tmp_path.iterdir())
    (tmp_path / "state").write_bytes(b"of a step before")
    with pytest.raises(NumericalOverflow), forget_diverged(tmp_path / "state"):
        trainer.save(tmp_path / "state")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [1e10, 1e30])
def test_what_diverges_in_the_last_step_is_no_result(rate):
    """Its weights are finite, and no step computes with them."""
    trainer = Trainer(replace(TINY, learning_rate=rate, warmup=1), images())
    with pytest.raises(NumericalOverflow, match="start again at a lower rate"):
        trainer.run(until=1)


def test_the_average_is_what_is_written_and_it_loads_like_any_file(trained, tmp_path):
    path = tmp_path / "tiny.safetensors"
    results.export(trained, path, "drawn images")
    found = inspect(path)
    assert (found.family, found.layout, found.latent_channels, found.spatial_ratio) == ("kl", "ldm", 4, 2)
    weights = load_file(path)
    assert all(torch.equal(t, trained.average.state_dict()[name].half()) for name, t in weights.items())
    x = images().batch(0, 32, 1)
    error = (load(path, dtype=torch.float32).decode(load(path, dtype=torch.float32).encode(x).mode()) - x).square()
    assert error.mean() < 0.75 * (x - x.mean((2, 3), keepdim=True)).square().mean()


def test_the_file_may_be_read_by_whoever_may_read_others(trained, tmp_path):
    results.export(trained, tmp_path / "tiny.safetensors", "drawn images")
    (tmp_path / "other").write_text("")
    assert (tmp_path / "tiny.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_curves_are_drawn(trained, tmp_path):
    curves.draw_curves(trained.history, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size == (800, 700)


def test_held_out_photographs_are_measured(tmp_path, kl_file, capsys):
    folder, out = tmp_path / "held_out", tmp_path / "results"
    folder.mkdir()
    for i, size in enumerate([(90, 60), (40, 41)]):
        Image.fromarray(draw_image(96, np.random.default_rng(i))).crop((0, 0, *size)).save(folder / f"{i}.png")
    (folder / "notes.txt").write_text("no photograph")
    command = ["evaluate", str(kl_file), "--data", str(tmp_path), "--out", str(out), "--long-side", "64"]
    assert main(command) == 0
    table = (out / "small.md").read_text()
    assert "| 0.png | 64x43 |" in table and "| 1.png | 40x41 |" in table and "| **mean** |" in table
    assert capsys.readouterr().out.strip() in table
    assert Image.open(out / "small.jpg").width == results.SHEET_COLUMNS * results.SHEET_WIDTH
    assert main(["evaluate", str(kl_file), "--data", str(out), "--out", str(out)]) == 1
    assert "run fetch first" in capsys.readouterr().err


@slow
def test_a_killed_run_ends_bit_equal_to_an_unbroken_one(tmp_path):
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    for i in range(4):
        Image.fromarray(draw_image(64, np.random.default_rng(i))).save(folder / f"{i}.png")
    command = [sys.executable, "-m", "exact_vae.training", "train", "--recipe", "tiny", "--threads", "1",
               "--save-every", "20", "--data", str(folder.parent), "--run"]  # fmt: skip
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    first = subprocess.Popen([*command, str(killed)])
    waiting_for(killed / "tiny.state", first)
    first.kill()
    first.wait()
    assert not (killed / "tiny.safetensors").exists()
    assert 0 < torch.load(killed / "tiny.state", weights_only=True)["step"] < TINY.steps
    for run in (killed, unbroken):
        subprocess.run([*command, str(run)], check=True)
    files = [load_file(run / "tiny.safetensors") for run in (killed, unbroken)]
    assert all(torch.equal(files[0][name], t) for name, t in files[1].items())
    states = [torch.load(run / "tiny.state", weights_only=True) for run in (killed, unbroken)]
    assert all(torch.equal(states[0]["network"][name], t) for name, t in states[1]["network"].items())
    assert states[0]["history"] == states[1]["history"]
    assert {path.name for path in killed.iterdir()} == {"tiny.state", "tiny.safetensors", "tiny.curves.png"}


def waiting_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, "the run ended before it saved anything"
        time.sleep(0.02)


def test_a_state_of_another_recipe_is_refused(trained, tmp_path):
    trained.save(tmp_path / "state")
    other = Trainer(replace(TINY, kl_weight=1.0), images())
    with pytest.raises(BadRequest, match=r"another recipe: kl_weight was .* and is 1\.0; "):
        other.restore(tmp_path / "state")
    other = Trainer(replace(TINY, phases=tuple(replace(phase, batch=3) for phase in TINY.phases)), images())
    with pytest.raises(BadRequest, match=r"another recipe: phases\[0\]\.batch was \d+ and is 3[,;]"):
        other.restore(tmp_path / "state")


def test_recipes_say_all_there_is_to_say():
    for recipe in RECIPES.values():
        assert json.loads(json.dumps(recipe.to_dict()))["name"] == recipe.name
    assert RECIPES["without-kl"].kl_weight == 0
    assert DEMO.config.latent_channels == 4 and DEMO.config.spatial_ratio == 8


def test_growing_by_a_level_hardly_changes_what_is_computed():
    """A new top level repeats and averages, so a smooth image comes out of the grown network as it did before.

    Measured: 0.06 to 0.16 for networks that are started gently, 1.3 to 2.2 for those that are not.
    """
    recipe = replace(TINY, widths=(64, 64, 64))
    gentle = Trainer(recipe, images()).network
    torch.manual_seed(recipe.seed)
    plain = AutoencoderKL(recipe.config)
    assert max(changes_by_growing(gentle)) < 0.3
    assert min(changes_by_growing(plain)) > 1


@torch.no_grad()
def changes_by_growing(network: AutoencoderKL) -> tuple[float, float]:
    """What a top level changes in the moments and in the decoded pixels, as a share of how much these vary."""
    along = torch.linspace(-1, 1, 64)
    y, x = torch.meshgrid(along, along, indexing="ij")
    ramp = torch.stack([x, y, (x + y) / 2])[None]
    (encode, decode), (encode_small, decode_small) = (ops_without_top(network, skip) for skip in (0, 1))
    small = whole.run(encode_small, avg_pool2d(ramp, 2))
    mean = small.chunk(2, 1)[0]
    decoded = avg_pool2d(whole.run(decode, mean), 2)
    return change(small, whole.run(encode, ramp)), change(whole.run(decode_small, mean), decoded)


def change(before: torch.Tensor, after: torch.Tensor) -> float:
    """In the middle; at the borders convolutions see zeros of another width."""
    border = before.shape[-1] // 4
    before, after = (x[..., border:-border, border:-border] for x in (before, after))
    return ((after - before).norm() / (before - before.mean((2, 3), keepdim=True)).norm()).item()


@pytest.mark.parametrize(("skip", "ratio"), [(0, 4), (1, 2)])
def test_skipping_keeps_sizes(skip, ratio):
    network = Trainer(replace(TINY, widths=(64, 64, 64)), images()).network
    encode, decode = ops_without_top(network, skip)
    z = whole.run(encode, torch.zeros(1, 3, 16, 16)).chunk(2, 1)[0]
    assert z.shape == (1, 4, 16 // ratio, 16 // ratio)
    assert whole.run(decode, z).shape == (1, 3, 16, 16)


@torch.no_grad()
def test_a_wider_latent_begins_with_the_old_one():
    narrow = Trainer(TINY, images()).network
    torch.nn.init.normal_(narrow.quant_conv.weight, std=0.1)
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    wide = widen(narrow, TINY.config, 16, seed=3)
    means, logvars = whole.run(wide.encode_ops(), x).chunk(2, 1)
    own = whole.run(narrow.encode_ops(), x).chunk(2, 1)
    assert means.shape[1] == 16
    torch.testing.assert_close((means[:, :4], logvars[:, :4]), own)
    assert means[:, 4:].std() > 0.01  # they say something of the image
    torch.testing.assert_close(whole.run(wide.decode_ops(), means), whole.run(narrow.decode_ops(), own[0]))
    with pytest.raises(BadRequest, match="latents of 4 channels cannot be widened to 4"):
        widen(narrow, TINY.config, 4, seed=3)


@pytest.mark.parametrize("shape", [(8, 30), (30, 8)])
def test_an_orthogonal_step_keeps_directions_and_evens_their_lengths(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * torch.logspace(-1, 1, shape[1])
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonalize(1e-3 * matrix) @ v.T
    lengths = inner.diagonal()
    assert lengths.min() > 0.6 and lengths.max() < 1.3
    assert (inner - torch.diag(lengths)).abs().max() < 1e-3


def test_a_run_with_two_optimizers_goes_on_to_the_bit(tmp_path):
    recipe = replace(TINY, optimizer=MUON)
    unbroken, begun, resumed = (Trainer(recipe, images()) for _ in range(3))
    unbroken.run(until=6)
    begun.run(until=3)
    begun.save(tmp_path / "state")
    resumed.restore(tmp_path / "state")
    resumed.run(until=6)
    for one, other in zip(resumed.network.parameters(), unbroken.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_loss_is_what_it_says():
    x = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    posterior = Posterior.of_moments(torch.cat([torch.ones(1, 4, 1, 1), torch.zeros(1, 4, 1, 1)], 1).double())
    weighted = replace(TINY, kl_weight=0.1, coarse_weight=0.2, edge_weight=0.3, colour_weight=0.4)
    loss = compute_loss(x + 0.5, x, posterior, weighted)
    assert loss.squared == 0.25
    assert loss.nats == 0.5  # mean 1, variance 1
    assert loss.total.item() == pytest.approx(0.25 + 0.2 * 3 * 0.25 + 0.4 * 0.25 + 0.1 * 4 * 0.5 / 192)


def test_runs_of_one_seed_are_equal(trained):
    again = Trainer(TINY, images())
    again.run(until=10)
    once_more = copy.deepcopy(again)
    again.run(until=20)
    once_more.run(until=20)
    assert again.history == once_more.history == trained.history[:1]
