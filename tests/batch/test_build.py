"""exact-vae cache build: the same bits each time, one file's fault stops nothing, another recipe is refused."""

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import psutil
import pytest
import torch
from exact_vae.batch import Loading, Recipe, Request, Store, build, workers
from exact_vae.batch.encoding import agree
from exact_vae.batch.planning import plan_items, survey
from exact_vae.batch.shards import open_shard
from exact_vae.batch.sources import list_sources
from exact_vae.batch.workers import Worker, encode_here, encode_in_processes
from exact_vae.cli import main
from exact_vae.vae_core import VAEError, load, readers
from exact_vae.vae_core.images import to_pixel_range
from PIL import Image
from support.slow import slow

SMALL = ("--area", "32x32", "--step", "16", "--device", "cpu", "--dtype", "fp32")


def run(*arguments) -> int:
    return main(["cache", "build", *map(str, arguments), *SMALL])


def fails(capsys, *arguments) -> str:
    assert run(*arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("exact-vae: ") and said.count("\n") == 1
    return said


def hashes(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / "shards").iterdir()}


def tensors(out: Path) -> dict[str, torch.Tensor]:
    found = {}
    for name in Store(out).list_shards():
        with open_shard(out / "shards" / name) as file:
            found |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return found


def test_a_cache(photos, tmp_path):
    out = tmp_path / "out"
    assert run(photos, out) == 0
    store = Store(out)
    rows = list(store.read_rows())
    assert [row.record.path for row in rows] == ["0.png", "1.png", "2.png", "3.png"]
    assert [row.caption for row in rows] == ["image 0", "image 1", "image 2", "image 3"]
    reasons = {one.path: one.reason for one in store.read_skipped()}
    assert reasons.keys() == {"more/twice.png", "cut.png", "empty.png", "small.png"}
    assert "duplicate of '0.png'" in reasons["more/twice.png"] and "4x4" in reasons["small.png"]
    assert store.job["convention"] == "raw" and store.job["vae"]["fingerprint"] == load().fingerprint
    stored = tensors(out)
    assert len(stored) == 4 and all(stored[f"{row.record.key}.mean"].shape == row.entry.shape for row in rows)


def test_an_image_of_its_bucket_s_size_is_what_encode_gives(photos, tmp_path):
    assert run(photos, tmp_path / "out") == 0
    (row,) = (row for row in Store(tmp_path / "out").read_rows() if row.record.path == "2.png")
    image = readers.read(photos / "2.png")[0].movedim(-1, 1)
    expected = load(dtype=torch.float32, device="cpu").encode(to_pixel_range(image)).mode()[0]
    assert torch.equal(tensors(tmp_path / "out")[f"{row.record.key}.mean"], expected)


def test_a_mirrored_image_is_encoded_mirrored(photos, tmp_path):
    assert run(photos, tmp_path / "out", "--flip") == 0
    stored = tensors(tmp_path / "out")
    (row,) = (r for r in Store(tmp_path / "out").read_rows() if r.record.path == "2.png" and r.record.flip)
    image = readers.read(photos / "2.png")[0].movedim(-1, 1).flip(-1)
    expected = load(dtype=torch.float32, device="cpu").encode(to_pixel_range(image)).mode()[0]
    assert len(stored) == 8 and torch.equal(stored[f"{row.record.key}.mean"], expected)


def test_a_run_goes_on_where_it_stopped(photos, tmp_path):
    whole, again = tmp_path / "whole", tmp_path / "again"
    assert run(photos, whole) == 0 and run(photos, again) == 0
    (lost, *_) = (again / "shards").iterdir()
    kept = {path: path.stat().st_mtime_ns for path in (again / "shards").iterdir() if path != lost}
    lost.unlink()
    (again / "index.jsonl").unlink()
    assert run(photos, again) == 0
    assert hashes(again) == hashes(whole) and (again / "index.jsonl").read_text() == (whole / "index.jsonl").read_text()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what was there is not made again"


def test_stopped_by_the_user(photos, tmp_path):
    """The shards that are complete stay, and the index tells of them."""

    def stop(done: int, total: int, skipped: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    recipe = Recipe((32, 32), 16)
    request = Request(photos, tmp_path / "out", Loading(dtype=torch.float32), recipe)
    with pytest.raises(KeyboardInterrupt):
        build(request, progress=stop)
    assert 0 < len(list(Store(tmp_path / "out").read_rows())) < 4
    assert not [p for p in (tmp_path / "out").rglob("*.part")]
    assert build(request).latents == 4
    assert run(photos, tmp_path / "whole") == 0
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_processes_give_the_bits_of_one(photos, tmp_path):
    assert run(photos, tmp_path / "one") == 0
    assert run(photos, tmp_path / "two", "--workers", "cpu:2") == 0
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_a_worker_that_dies_is_replaced_and_its_batch_repeated(photos, tmp_path):
    recipe = Recipe((32, 32), 16).check()
    sources = [one for one in list_sources(photos, ".txt", tmp_path) if one.path[0] in "0123"]
    items, _ = plan_items(survey(sources, {}, 1).images, recipe)
    vae = load(dtype=torch.float32, device="cpu")
    plans = agree(vae, recipe, {item.record.bucket for item in items})
    batches = [[item] for item in items]
    worker = Worker(Loading(dtype=torch.float32), "cpu", recipe, plans)
    results = encode_in_processes([worker], batches)
    found = [next(results)]
    (process,) = worker._pool._processes.values()
    process.kill()
    found += results
    expected = list(encode_here(vae, recipe, plans, batches))
    assert [one.record for (one,) in found] == [item.record for item in items]
    assert all(torch.equal(a.tensors["mean"], b.tensors["mean"]) for (a,), (b,) in zip(found, expected, strict=True))


@slow
def test_workers_end_with_the_process_that_is_killed():
    """Else they would wait for ever, each with a VAE in memory."""
    code = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from exact_vae.batch.workers import watch_parent
pool = ProcessPoolExecutor(1, get_context("spawn"), watch_parent)
print(pool.submit(os.getpid).result(), flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        worker = psutil.Process(int(driver.stdout.readline()))
        driver.kill()
    _, alive = psutil.wait_procs([worker], timeout=60)
    assert not alive


def test_a_broken_image_in_a_batch_changes_no_other(photos, tmp_path):
    for number in range(3):
        Image.effect_noise((32, 32), 50 + number).convert("RGB").save(photos / f"9{number}.png")
    (photos / "91.png").write_bytes((photos / "91.png").read_bytes()[:-200])
    assert run(photos, tmp_path / "one") == 0 and run(photos, tmp_path / "three", "--batch", "3") == 0
    one, three = tensors(tmp_path / "one"), tensors(tmp_path / "three")
    assert one.keys() == three.keys() and len(one) == 6
    assert all(torch.allclose(one[key], three[key], atol=1e-4) for key in one)


def test_another_recipe_is_refused(photos, tmp_path, capsys):
    assert run(photos, tmp_path / "out") == 0
    before = hashes(tmp_path / "out")
    said = fails(capsys, photos, tmp_path / "out", "--fit", "pad")
    assert "fit: crop before, pad now" in said
    assert hashes(tmp_path / "out") == before


def test_changed_sources(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(photos, out) == 0
    Image.new("RGB", (40, 40), "red").save(photos / "new.png")
    (photos / "1.png").unlink()
    Image.new("RGB", (32, 32), "blue").save(photos / "2.png")
    said = fails(capsys, photos, out)
    assert "1 new (new.png), 1 gone (1.png), 1 changed (2.png)" in said and "--update" in said
    assert run(photos, out, "--update") == 0
    assert {row.record.path for row in Store(out).read_rows()} == {"0.png", "2.png", "3.png", "new.png"}
    assert run(photos, out) == 0


def test_a_dry_run_writes_nothing(photos, tmp_path, capsys):
    assert run(photos, tmp_path / "out", "--dry-run", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["encoded"] == 5 and report["skipped"] == 3, "an image that is cut short is found when it is decoded"
    assert not (tmp_path / "out").exists()


def test_lists_and_archives_give_the_latents_of_a_folder(photos, tmp_path):
    assert run(photos, tmp_path / "folder") == 0
    lines = [{"path": f"{i}.png", "text": f"image {i}"} for i in range(4)]
    (photos / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "no json\n")
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for i in range(4):
            for name in (f"{i}.png", f"{i}.txt"):
                archive.add(photos / name, name)
    for source in (photos / "list.jsonl", tmp_path / "all.tar"):
        out = tmp_path / source.stem
        assert run(source, out) == 0
        assert [row.caption for row in Store(out).read_rows()] == [f"image {i}" for i in range(4)]
        assert tensors(out).keys() == tensors(tmp_path / "folder").keys()


def test_a_table_gives_the_latents_of_a_folder(photos, tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"image": {"bytes": (photos / f"{i}.png").read_bytes(), "path": None}, "text": f"{i}"} for i in range(4)]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    assert run(tmp_path / "t.parquet", tmp_path / "table") == 0
    assert run(photos, tmp_path / "folder") == 0
    one, other = tensors(tmp_path / "table"), tensors(tmp_path / "folder")
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert parquet.read_table(tmp_path / "table" / "index.parquet").num_rows == 4


def test_posteriors(photos, tmp_path):
    for name in ("mean+logvar", "sample:7", "sample:8"):
        assert run(photos, tmp_path / name, "--posterior", name) == 0
    both = tensors(tmp_path / "mean+logvar")
    keys = {key.partition(".")[0] for key in both}
    assert both.keys() == {f"{key}.{kind}" for key in keys for kind in ("mean", "logvar")}
    one, other = tensors(tmp_path / "sample:7"), tensors(tmp_path / "sample:8")
    for key in keys:
        off = (one[f"{key}.latent"] - both[f"{key}.mean"]) / (both[f"{key}.logvar"] / 2).exp()
        assert 0.5 < off.std() < 1.5 and not torch.equal(one[f"{key}.latent"], other[f"{key}.latent"])


def test_latent_moments_are_those_of_the_latent():
    """Of a VAE that normalises its latent, by two samples with known noise."""
    from exact_vae.vae_core import Posterior

    mean, logvar = torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3)
    posterior = Posterior(mean, logvar, (lambda z: (z - 2) * -3,))
    found, spread = posterior.latent_moments()
    assert torch.allclose(found, (mean - 2) * -3) and torch.allclose((spread / 2).exp(), 3 * (logvar / 2).exp())


@pytest.mark.parametrize("arguments", [("--workers", "cpu:0"), ("--workers", "cpu:x"), ("--sizes", "nowhere.txt")])
def test_what_cannot_be_is_one_sentence(arguments, photos, tmp_path, capsys):
    fails(capsys, photos, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_no_source(tmp_path, capsys):
    assert "there is no file" in fails(capsys, tmp_path / "nowhere", tmp_path / "out")


def test_a_recipe_says_what_cannot_be():
    with pytest.raises(VAEError, match="buckets cannot be 'square'"):
        Recipe(buckets="square").check()


@pytest.mark.parametrize("area", [64, (64,), (64.5, 64), None, "64"], ids=str)
def test_an_area_is_two_numbers(area):
    with pytest.raises(VAEError, match="a width and a height in pixels"):
        Recipe(area).check()


@pytest.mark.parametrize("frames", [5, (1.5,), "17"], ids=str)
def test_frames_are_whole_numbers(frames):
    with pytest.raises(VAEError, match="whole numbers in a tuple"):
        Recipe(frames=frames).check()


def test_a_worker_knows_which_batch_it_gets_next():
    """So that it reads the images of that one while it encodes."""
    given = list(workers._assign(["a", "b"], [[1], [2], [3], [4], [5]]))
    assert given == [("a", [1], [3]), ("b", [2], [4]), ("a", [3], [5]), ("b", [4], ()), ("a", [5], ())]
    assert list(workers._assign(["a", "b"], [[1]])) == [("a", [1], ())]


def test_without_an_image_nothing_is_written(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "out") == 1
    assert "there is no image in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks there")
def test_two_runs_do_not_write_into_one_cache(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(photos, out) == 0
    before = hashes(out)
    with Store(out).held():
        said = fails(capsys, photos, out)
        assert said == f"exact-vae: another run is writing into '{out}': let it end, or name another folder.\n"
        assert run(photos, out, "--dry-run") == 0
    assert run(photos, out) == 0 and hashes(out) == before


def test_a_run_that_waited_looks_again(photos, tmp_path, monkeypatch, capsys):
    """Another one, with other options, began and ended between its look at the folder and its lock."""
    held, out = Store.held, tmp_path / "out"

    def others_first(store):
        monkeypatch.setattr(Store, "held", held)
        assert run(photos, out) == 0
        return held(store)

    monkeypatch.setattr(Store, "held", others_first)
    assert "was made otherwise" in fails(capsys, photos, out, "--flip")


def test_the_images_folder_is_not_the_cache(photos, tmp_path, capsys):
    before = sorted(photos.rglob("*"))
    assert "has the images: name another folder" in fails(capsys, photos, photos / "more" / "..")
    assert sorted(photos.rglob("*")) == before


def test_nothing_but_skipped_sources_is_said(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "page.png").write_text("<html>")
    assert fails(capsys, tmp_path / "photos", tmp_path / "out").endswith("no source became a latent.\n")
    assert "page.png" in (tmp_path / "out" / "skipped.jsonl").read_text()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (("--alpha", "keep"), "cannot keep alpha"),
        (("--alpha", "composite", "--background", "grey"), "'grey' is no colour"),
        (("--background", "#00ff00"), "--background is for --alpha composite"),
    ],
)
def test_what_can_be_done_to_no_image_is_refused_at_once(photos, tmp_path, capsys, how, said):
    assert said in fails(capsys, photos, tmp_path / "out", *how)
    assert not (tmp_path / "out").exists()
