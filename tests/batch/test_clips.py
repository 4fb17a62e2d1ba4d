"""Clips to latents: videos and folders of frames, in pieces of as many frames as the VAE takes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.batch import Check, InHand, Recipe, Request, Store, build, check, compare, verify
from exact_vae.batch import clips as loading
from exact_vae.batch.cluster import RayBackend
from exact_vae.batch.comparing import read_row
from exact_vae.batch.exporting import Export, name_file
from exact_vae.batch.formats import FORMATS
from exact_vae.batch.verifying import Findings
from exact_vae.vae_core import BadPixels, BadRequest, readers, videos
from exact_vae.vae_core.images import to_pixel_range
from PIL import Image
from safetensors.torch import save_file
from support.small_networks import small
from support.stand_in_for_ray import StandIn

RATE = 8


@pytest.fixture(scope="module")
def wan():
    return small("wan", torch.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A video of 11 frames, a folder of 6, a video that is too short, one that is broken, and an image."""
    folder = tmp_path_factory.mktemp("clips")
    frames = torch.rand(3, 11, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for name, count in (("long.mkv", 11), ("short.mkv", 3)):
        path = folder / "in" / name
        path.parent.mkdir(exist_ok=True)
        with videos.VideoFile(path, videos.choose_encoding(path, "ffv1"), RATE) as file:
            file.put(frames[:, :count])
    (folder / "in" / "long.txt").write_text("a clip")
    (folder / "frames").mkdir()
    for number in range(6):
        levels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / "frames" / f"f{number}.png")
    (folder / "in" / "broken.mp4").write_bytes(b"no video")
    Image.new("RGB", (40, 40)).save(folder / "alone.png")
    return folder


def run(clips: Path, out: Path, wan, **recipe):
    made = Recipe((32, 32), 16, filter="lanczos", **{"frames": (5,), **recipe})
    return build(Request(clips, out, InHand(vae=wan), made))


def test_pieces_of_clips(clips, wan, tmp_path):
    report = run(clips, tmp_path / "out", wan)
    rows = {(row.record.path, row.record.start): row for row in Store(tmp_path / "out").read_rows()}
    assert set(rows) == {("in/long.mkv", 0), ("in/long.mkv", 5), ("frames", 0)} and report.latents == 3
    assert rows["in/long.mkv", 5].caption == "a clip" and rows["frames", 0].record.frames == 5
    reasons = {one.path: one.reason for one in Store(tmp_path / "out").read_skipped()}
    assert reasons["in/short.mkv"] == "it has 3 frames, and 5 are the least" and set(reasons) == {
        "in/short.mkv",
        "in/broken.mp4",
    }
    frames = torch.cat([readers.read(clips / "frames" / f"f{n}.png")[0] for n in range(5)]).movedim(-1, 0)
    expected = wan.encode(to_pixel_range(frames[None])).mode()[0]
    found = read_row(Store(tmp_path / "out"), rows["frames", 0])["mean"]
    assert found.shape == (4, 2, 4, 4) and torch.equal(found, expected)
    assert run(clips, tmp_path / "out", wan).encoded == 0 and not verify(Store(tmp_path / "out")).problems
    wrong = Findings()
    assert len(list(compare(Store(tmp_path / "out"), wan, 3, wrong))) == 3 and not wrong.problems


def test_frames_are_laid_over_the_background(wan, tmp_path):
    """Every second frame has transparency, on its left half."""
    folder = tmp_path / "source" / "frames"
    folder.mkdir(parents=True)
    green, expected = np.array((0, 255, 0), np.uint8), []
    for number in range(5):
        levels = np.random.default_rng(number).integers(0, 256, (32, 32, 4), dtype=np.uint8)
        levels[..., 3] = 255
        levels[:, :16, 3] = 255 * (number % 2)
        kept = 4 if number % 2 == 0 else 3
        Image.fromarray(levels[..., :kept]).save(folder / f"f{number}.png")
        expected.append(np.where(levels[..., 3:] == 255, levels[..., :3], green))
    run(tmp_path / "source", tmp_path / "out", wan, alpha="composite", background="#00ff00")
    (row,) = Store(tmp_path / "out").read_rows()
    frames = torch.from_numpy(np.stack(expected)).float().movedim(-1, 0)[None] / 255
    assert torch.equal(read_row(Store(tmp_path / "out"), row)["mean"], wan.encode(to_pixel_range(frames)).mode()[0])


def test_pieces_of_several_numbers_of_frames(clips, wan, tmp_path):
    """Each number by itself, as with it alone; shards hold one shape each."""
    report = run(clips, tmp_path / "out", wan, frames=(5, 1, 5))
    assert report.buckets == {(32, 32): 11 + 6 + 3, (32, 32, 5): 3} and report.latents == 23
    store = Store(tmp_path / "out")
    rows = {(row.record.path, row.record.start, row.record.frames): row for row in store.read_rows()}
    assert len(rows) == 23 and {row.entry.shape for row in rows.values()} == {(4, 1, 4, 4), (4, 2, 4, 4)}
    run(clips, tmp_path / "five", wan)
    for row in Store(tmp_path / "five").read_rows():
        same = rows[row.record.path, row.record.start, 5]
        assert same.entry.digest == row.entry.digest and same.record.key != row.record.key
    assert run(clips, tmp_path / "out", wan, frames=(1, 5)).encoded == 0 and not verify(store).problems
    with pytest.raises(BadRequest, match=r"frames: \[1, 5\] before, \[5\] now"):
        run(clips, tmp_path / "out", wan)


def test_a_broken_piece_does_not_stand_for_its_clip(clips, wan, tmp_path, monkeypatch):
    """A run that is stopped behind a broken piece leaves others, which the next one encodes."""
    load = loading.load

    def bend(item, *how):
        if item.record.start == 0:
            raise BadPixels("it is bent")
        return load(item, *how)

    def stop(done, total, skipped):
        if done + skipped == told.setdefault("before", done + skipped) + 3:
            raise KeyboardInterrupt  # at the third piece, which is not written

    told: dict[str, int] = {}
    recipe = Recipe((32, 32), 16, filter="lanczos", frames=(5,))
    request = Request(clips, tmp_path / "out", InHand(vae=wan), recipe, shard=1)  # a shard for each piece
    monkeypatch.setattr(loading, "load", bend)
    with pytest.raises(KeyboardInterrupt):
        build(request, progress=stop)
    assert build(request).latents == 1
    assert [row.record.start for row in Store(tmp_path / "out").read_rows()] == [5]
    bent = {one.path for one in Store(tmp_path / "out").read_skipped() if one.reason == "it is bent"}
    assert bent == {"frames", "in/long.mkv"} and build(request).encoded == 0


def test_a_cache_of_an_earlier_version_goes_on(clips, wan, tmp_path):
    """Its recipe had one number of frames, its plans no frames, and its shards were named without them."""
    run(clips, tmp_path / "out", wan)
    path = tmp_path / "out" / "job.json"
    job = json.loads(path.read_text())
    plans = {name.removesuffix("x5"): how for name, how in job["plans"].items()}
    path.write_text(json.dumps({**job, "plans": plans, "recipe": {**job["recipe"], "frames": 5}}))
    assert run(clips, tmp_path / "out", wan).encoded == 0
    assert json.loads(path.read_text())["recipe"]["frames"] == [5] and job["plans"].keys() == {"32x32x5"}


def test_fewer_frames_a_second(clips, wan, tmp_path):
    """At half the rate every second frame is taken, so that 11 give one piece of 5."""
    run(clips, tmp_path / "half", wan, fps=RATE / 2)
    (row,) = Store(tmp_path / "half").read_rows()
    with_all = list(videos.open_frames(clips / "in" / "long.mkv", lambda x: x.movedim(-1, 1)).read())
    frames = torch.cat(with_all, 1)[:, 0:10:2]
    expected = wan.encode(to_pixel_range(frames[None])).mode()[0]
    assert torch.equal(read_row(Store(tmp_path / "half"), row)["mean"], expected)


def test_a_cluster_makes_the_same_of_clips(clips, wan, tmp_path):
    recipe = Recipe((32, 32), 16, filter="lanczos", frames=(1, 5), batch=2)
    for name, backend in (("here", None), ("there", RayBackend(StandIn(), "cpu", (clips,), piece=2))):
        build(Request(clips, tmp_path / name, InHand(vae=wan), recipe, backend=backend))
    files = [{p.name: p.read_bytes() for p in (tmp_path / n / "shards").iterdir()} for n in ("here", "there")]
    assert files[0] == files[1] and len(files[0]) == 2
    assert (tmp_path / "here" / "index.jsonl").read_text() == (tmp_path / "there" / "index.jsonl").read_text()


def test_the_law_of_frames(clips, wan, tmp_path):
    with pytest.raises(BadRequest, match="encodes no clip of 7 frames: choose 5 or 9"):
        run(clips, tmp_path / "out", wan, frames=(5, 7))
    with pytest.raises(BadRequest, match="is a VAE of images: leave --frames out"):
        run(clips, tmp_path / "out", small("kl", torch.float32))
    with pytest.raises(BadRequest, match="fps, which needs frames"):
        run(clips, tmp_path / "out", wan, frames=(), fps=2.0)
    assert not (tmp_path / "out").exists()


def test_a_changed_frame_is_a_changed_clip(clips, wan, tmp_path):
    folder = tmp_path / "set" / "frames"
    folder.mkdir(parents=True)
    for path in (clips / "frames").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    run(folder.parent, tmp_path / "out", wan)
    Image.new("RGB", (32, 32), "red").save(folder / "f3.png")
    assert "it was changed since" in verify(Store(tmp_path / "out")).problems[0].what
    with pytest.raises(BadRequest, match=r"1 changed \(frames\)"):
        run(folder.parent, tmp_path / "out", wan)


def test_musubi_s_names_of_pieces(clips, wan, tmp_path):
    """As musubi numbers them, so that its own reader and ours find the video."""
    run(clips, tmp_path / "out", wan)
    row = next(r for r in Store(tmp_path / "out").read_rows() if r.record.start == 5)
    path = name_file(row.record, Export("musubi", tmp_path), FORMATS["musubi"]["wan"], clips=True)
    assert path.name == "long_00005-005_0032x0032_wan.safetensors"
    said = {"architecture": "wan", "width": "32", "height": "32", "frame_count": "5"}
    save_file({"latents_2x4x4_float32": torch.zeros(16, 2, 4, 4)}, path, metadata=said)
    found = check(Check(tmp_path, None))
    assert not found.problems and list(found.latents.values()) == [1]
