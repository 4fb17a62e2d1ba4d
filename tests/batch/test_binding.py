"""A cache has the latents of one recipe, whatever was lost or copied into it: the build refuses, verify tells."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from exact_vae.batch import Loading, Recipe, Request, Store, build, building, verify
from exact_vae.batch.shards import read_shard, write_shard
from exact_vae.cli import main
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.checkpoints import built_in

RECIPE = Recipe((32, 32), 16)
OTHER = replace(RECIPE, area=(64, 64), step=32)


def ask(photos, out, recipe=RECIPE, **more) -> Request:
    return Request(photos, out, Loading(dtype=torch.float32), recipe, **more)


def forget_recipe(out) -> None:
    """Make the shards those of an earlier version, and lose the job."""
    for path in (out / "shards").iterdir():
        latents, contents = read_shard(path)
        write_shard(path, [replace(one, tensors=clone(one.tensors)) for one in latents], contents.skipped, contents.vae)
    (out / "job.json").unlink()


def clone(tensors) -> dict[str, torch.Tensor]:
    return {name: one.clone() for name, one in tensors.items()}


@pytest.fixture
def lost(photos, tmp_path):
    """A cache without its job."""
    build(ask(photos, tmp_path / "out"))
    (tmp_path / "out" / "job.json").unlink()
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (OTHER, r"area: \[32, 32\] before, \[64, 64\] now"),
        (replace(RECIPE, filter="box"), "filter: lanczos before, box now"),
        (replace(RECIPE, stored="bf16"), "stored: fp32 before, bf16 now"),
    ],
)
def test_shards_know_their_recipe(photos, lost, recipe, said):
    with pytest.raises(
        BadRequest, match=rf"safetensors' was made otherwise \({said}.*give the options it was made with"
    ):
        build(ask(photos, lost, recipe))
    assert not (lost / "job.json").exists()
    assert build(ask(photos, lost)).encoded == 0


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (OTHER, r"resized of '0.png': \(\d+, \d+\) before"),
        (replace(RECIPE, fit="pad"), r"of '\d.png': \("),
        (replace(RECIPE, posterior="mean+logvar"), "mean in float32 before, logvar in float32 and mean in float32 now"),
        (replace(RECIPE, stored="bf16"), "mean in float32 before, mean in bfloat16 now"),
    ],
)
def test_shards_of_earlier_versions_tell_some_of_it(photos, tmp_path, recipe, said):
    out = tmp_path / "out"
    build(ask(photos, out))
    forget_recipe(out)
    with pytest.raises(BadRequest, match=rf"was made otherwise \(.*{said}"):
        build(ask(photos, out, recipe))
    assert build(ask(photos, out)).encoded == 0


def test_a_shard_of_another_vae_is_not_taken(photos, lost):
    path = min((lost / "shards").iterdir())
    latents, contents = read_shard(path)
    write_shard(path, [replace(one, tensors=clone(one.tensors)) for one in latents], contents.skipped, "another")
    with pytest.raises(BadRequest, match="fingerprint: another before"):
        build(ask(photos, lost))


@pytest.fixture
def mixed(photos, tmp_path, lost):
    """A cache of two recipes, as earlier versions made it of a lost job."""
    build(ask(photos, tmp_path / "other", OTHER))
    shutil.copy(tmp_path / "other" / "job.json", lost)
    for name in ("index.jsonl", "sources.jsonl"):
        shutil.copy(tmp_path / "other" / name, lost)
    store = Store(lost)
    shards = {one.record.key: (name, one) for name in store.list_shards() for one in store.read(name).entries}
    lines = [json.loads(line) for line in (lost / "index.jsonl").read_text().splitlines()]
    for line in lines:
        name, entry = shards[line["key"]]
        line |= {"shard": name, "shape": entry.shape, "digest": entry.digest}
    (lost / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lost


def test_verify_finds_two_recipes(mixed):
    said = [f"{one.where}: {one.what}" for one in verify(Store(mixed)).problems]
    assert any(re.match(r"index: .*bucket of '0.png': \(.*\) in the index, \(32, 32\) in '", one) for one in said)
    assert any("area: [64, 64] in job.json, [32, 32] here" in one for one in said)


def test_verify_with_the_vae_tells_of_other_shapes(mixed, capsys):
    command = ["cache", "verify", str(mixed), "--vae", str(built_in.VAE_FILE), "--device", "cpu", "--samples", "9"]
    assert main(command) == 1
    assert re.search(
        r"0.png.*encoded again its latent has the shape \(4, \d, \d\), and \(4, 4, 4\)", capsys.readouterr().out
    )


def test_verify_knows_the_size_of_a_bucket(photos, tmp_path):
    build(ask(photos, tmp_path / "out"))
    path = min((tmp_path / "out" / "shards").iterdir())
    latents, contents = read_shard(path)
    cut = [replace(one, tensors={name: t[:, :2].clone() for name, t in one.tensors.items()}) for one in latents]
    write_shard(path, cut, contents.skipped, contents.vae, contents.job)
    assert any("pixels gives (" in one.what for one in verify(Store(tmp_path / "out")).problems)


def test_a_run_that_waited_sees_shards_that_were_made_meanwhile(photos, tmp_path, monkeypatch):
    """By a run that had been stopped before its first shard, so that its job.json was there, and bound nobody."""
    out, held = tmp_path / "out", Store.held
    others, store = ask(photos, out), Store(out)
    store.make()
    building._write_down(others, building._prepare(others))
    assert store.job and not store.is_bound

    def others_first(store):
        monkeypatch.setattr(Store, "held", held)
        build(others)
        return held(store)

    monkeypatch.setattr(Store, "held", others_first)
    with pytest.raises(BadRequest, match="was made otherwise"):
        build(ask(photos, out, OTHER))
    assert Store(out).job["recipe"]["area"] == [32, 32] and not verify(Store(out)).problems
    min((out / "shards").iterdir()).unlink()
    monkeypatch.setattr(Store, "held", others_first)
    assert build(others).encoded == 0, "what was made meanwhile is not made again"


def test_verify_encodes_again_where_the_job_was_made_anew(photos, lost):
    """Its plans are lost with the first one."""
    build(ask(photos, lost))
    assert main(["cache", "verify", str(lost), "--vae", str(built_in.VAE_FILE), "--device", "cpu"]) == 0
