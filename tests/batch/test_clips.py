"""Clips to latents: videos and folders of frames, in pieces of as many frames as the VAE takes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.batch import Check, InHand, Recipe, Request, Store, build, check, compare, verify
from exact_vae.batch.comparing import read_row
from exact_vae.batch.exporting import Export, name_file
from exact_vae.batch.formats import FORMATS
from exact_vae.batch.verifying import Findings
from exact_vae.vae_core import BadRequest, readers, videos
from exact_vae.vae_core.images import to_pixel_range
from PIL import Image
from safetensors.torch import save_file
from support.small_networks import small

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
    made = Recipe((32, 32), 16, filter="lanczos", **{"frames": 5, **recipe})
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


def test_fewer_frames_a_second(clips, wan, tmp_path):
    """At half the rate every second frame is taken, so that 11 give one piece of 5."""
    run(clips, tmp_path / "half", wan, fps=RATE / 2)
    (row,) = Store(tmp_path / "half").read_rows()
    with_all = list(videos.open_frames(clips / "in" / "long.mkv", lambda x: x.movedim(-1, 1)).read())
    frames = torch.cat(with_all, 1)[:, 0:10:2]
    expected = wan.encode(to_pixel_range(frames[None])).mode()[0]
    assert torch.equal(read_row(Store(tmp_path / "half"), row)["mean"], expected)


def test_the_law_of_frames(clips, wan, tmp_path):
    with pytest.raises(BadRequest, match="encodes no clip of 7 frames: choose 5 or 9"):
        run(clips, tmp_path / "out", wan, frames=7)
    with pytest.raises(BadRequest, match="is a VAE of images: leave --frames out"):
        run(clips, tmp_path / "out", small("kl", torch.float32))
    with pytest.raises(BadRequest, match="fps, which needs frames"):
        run(clips, tmp_path / "out", wan, frames=0, fps=2.0)
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
    path = name_file(row.record, Export("musubi", tmp_path), FORMATS["musubi"]["wan"])
    assert path.name == "long_00005-005_0032x0032_wan.safetensors"
    said = {"architecture": "wan", "width": "32", "height": "32", "frame_count": "5"}
    save_file({"latents_2x4x4_float32": torch.zeros(16, 2, 4, 4)}, path, metadata=said)
    found = check(Check(tmp_path, None))
    assert not found.problems and list(found.latents.values()) == [1]
