"""A person's folder: what can be used, what is held out, and the crops of a step."""

import numpy as np
import pytest
import torch
from exact_vae.training import folder as folder_of
from exact_vae.training.folder import FolderCrops, cut, ladder, survey
from exact_vae.training.images import open_image
from exact_vae.vae_core import BadRequest
from PIL import Image


def image(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "more" / "deep").mkdir(parents=True)
    for i in range(8):
        image(70, 50, i).save(tmp_path / f"{i}.png")
    image(50, 60).save(tmp_path / "more" / "deep" / "a.jpg")
    image(48, 60).save(tmp_path / "more" / "b.webp")
    return tmp_path


def test_what_is_of_no_use_is_listed_with_its_reason(folder):
    (folder / "notes.txt").write_text("a caption")
    (folder / "text.png").write_text("no image")
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:2000])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / ".hidden.png").write_text("")
    (folder / "folder.png").mkdir()
    Image.new("RGB", (1, 1)).save(folder / "more" / "dot.png")
    found = survey(folder, 48)
    assert set(found.skipped) == {"notes.txt", "text.png", "0.png", "empty.jpg", "more/dot.png"}
    assert found.skipped["notes.txt"] == "it has the ending of no image"
    assert found.skipped["more/dot.png"] == "it has 1x1 pixels, crops 48x48"
    assert "truncated" in found.skipped["0.png"] and "it is a text" in found.skipped["text.png"]
    assert not any("take it out" in why for why in found.skipped.values())
    assert set(found.train) | set(found.held_out) == {
        *(f"{i}.png" for i in range(1, 8)),
        "more/deep/a.jpg",
        "more/b.webp",
    }
    assert len(found.held_out) == 1 and not set(found.train) & set(found.held_out)


def test_what_is_held_out_depends_on_names_alone(folder):
    before = survey(folder, 48)
    (folder / "text.png").write_text("no image")
    after = survey(folder, 48)
    assert len(before.held_out) == 2 and before.held_out == after.held_out
    digest = before.digest
    assert after.digest == digest
    image(90, 90).save(folder / before.train[0])
    assert survey(folder, 48).digest != digest


def test_own_results_are_not_looked_at(folder):
    assert "more/b.webp" in survey(folder, 48).train + survey(folder, 48).held_out
    found = survey(folder, 48, without=(folder / "more", folder / "1.png"))
    assert {*found.train, *found.held_out} == {f"{i}.png" for i in (0, *range(2, 8))}


def test_too_few(tmp_path):
    with pytest.raises(BadRequest, match=r"has no image that can be used, but at least two are needed.*with\.$"):
        survey(tmp_path, 8)
    image(9, 9).save(tmp_path / "a.png")
    image(9, 7).save(tmp_path / "b.png")
    with pytest.raises(
        BadRequest, match=r"one image that can be used.*of no use: 'b\.png' \(it has 9x7 pixels, crops 8x8\)\.$"
    ):
        survey(tmp_path, 8)
    with pytest.raises(BadRequest, match=r"nowhere' cannot be read: No such file"):
        survey(tmp_path / "nowhere", 8)


def test_a_package_that_is_missing(folder, monkeypatch):
    (folder / "x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    said = "it is a HEIC image: install pillow-heif (pip install pillow-heif), or convert it to PNG or JPEG"
    assert survey(folder, 48).skipped == {"x.heic": said}


def test_a_step_sees_the_same_crops_however_they_are_shared(folder):
    crops = FolderCrops(survey(folder, 48), seed=3)
    whole = crops.batch(5, 16, 6)
    assert whole.shape == (6, 3, 16, 16) and whole.dtype is torch.float32
    assert whole.min() >= -1 and whole.max() <= 1
    parts = [FolderCrops(survey(folder, 48), seed=3).batch(5, 16, 6, share) for share in (slice(0, 3), slice(3, 6))]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(crops.batch(6, 16, 6), whole)


def test_what_is_kept_in_memory_changes_nothing(folder, monkeypatch):
    kept = FolderCrops(survey(folder, 48), seed=1)
    monkeypatch.setattr(folder_of, "KEPT", 70 * 50 * 3 * 2)
    few = FolderCrops(survey(folder, 48), seed=1)
    for step in range(4):
        assert torch.equal(kept.batch(step, 16, 4), few.batch(step, 16, 4))
    assert len(few._kept) == 2 < len(kept._kept)


@pytest.mark.parametrize("size", [(60, 40), (40, 61), (40, 40), (41, 200)])
def test_crops_lie_within_the_image(size):
    """Red grows to the right and green downwards, so a crop tells where it was and how much it was shrunk."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    ramp = Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8))
    for seed in range(60):
        crop = np.asarray(cut(ramp, 20, np.random.default_rng(seed))).astype(float)
        steps = np.diff(crop[10, :, 0])[2:-2].mean(), np.diff(crop[:, 10, 1])[2:-2].mean()
        assert any(abs(step - min(size) / short) < 0.15 for step in steps[:1] for short in ladder(min(size), 20))
        assert abs(steps[0] - steps[1]) < 0.15


def test_sizes_of_an_image():
    assert ladder(60, 20) == [60, 40, 26]
    assert ladder(20, 20) == [20]


def test_cameras_say_which_way_is_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image(30, 20).save(tmp_path / "x.jpg", exif=exif)
    assert open_image(tmp_path / "x.jpg").size == (20, 30)
