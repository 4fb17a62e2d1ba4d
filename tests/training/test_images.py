import os

import numpy as np
import pytest
import torch
from exact_vae.training.images import Images, Pyramid, list_images, open_image, open_photographs, shrink, vary
from exact_vae.training.procedural import draw_image
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.execution.plans import budget
from PIL import Image


def image(width: int = 90, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_step_sees_the_same_images_whenever_it_is_asked():
    a, b = (Images([Pyramid(image(), 16)], share_drawn=0.5, seed=3) for _ in range(2))
    a.batch(1, 16, 4)
    assert torch.equal(a.batch(7, 16, 4), b.batch(7, 16, 4))
    assert not torch.equal(a.batch(7, 16, 4), a.batch(8, 16, 4))


def test_batches_are_pixels():
    x = Images([Pyramid(image(), 16)], share_drawn=0.3, seed=0).batch(0, 16, 6)
    assert x.shape == (6, 3, 16, 16) and x.dtype == torch.float32
    assert x.min() >= -1 and x.max() <= 1


def test_crops_come_from_every_size_that_holds_them():
    pyramid = Pyramid(image(), 16)
    assert [min(level.shape[:2]) for level in pyramid.levels] == [60, 40, 26, 17]
    assert all(pyramid.crop(26, np.random.default_rng(i)).shape == (26, 26, 3) for i in range(20))


def test_small_photographs_are_passed_over_for_large_crops():
    images = Images([Pyramid(image(20, 20), 16), Pyramid(image(), 16)], share_drawn=0, seed=0)
    assert images.batch(0, 48, 8).shape == (8, 3, 48, 48)


def test_shrinking_keeps_the_shape():
    assert shrink(image(90, 60), 20).size == (30, 20)


def test_variation_keeps_range_and_size():
    rng = np.random.default_rng(5)
    crops = [vary(np.full((8, 8, 3), level, np.uint8), rng) for level in (0, 128, 255) for _ in range(20)]
    assert all(crop.shape == (8, 8, 3) and crop.min() >= -1 and crop.max() <= 1 for crop in crops)


def test_drawn_images_differ_and_are_rgb():
    images = [draw_image(32, np.random.default_rng(i)) for i in range(40)]
    assert all(p.shape == (32, 32, 3) and p.dtype == np.uint8 for p in images)
    assert len({p.tobytes() for p in images}) == 40


def test_photographs_are_told_by_their_suffix(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", "c.md"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.PNG"]


def test_a_folder_without_photographs(tmp_path):
    (tmp_path / "notes.txt").write_text("none here")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BadRequest, match=rf"no photographs in '{folder}': run fetch first"):
            list(open_photographs(folder))
    with pytest.raises(BadRequest, match=r"notes.txt' cannot be read: Not a directory\."):
        list_images(tmp_path / "notes.txt")


@pytest.mark.parametrize("end", [0, 20, 300])
def test_a_broken_photograph_is_named(tmp_path, end):
    image().save(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes((tmp_path / "x.png").read_bytes()[:end])
    with pytest.raises(BadRequest, match=rf"^'{tmp_path}/x.png' cannot be read as an image: .*; take it out"):
        list(open_photographs(tmp_path))


def test_a_photograph_beyond_the_memory(tmp_path, monkeypatch):
    image(90, 60).save(tmp_path / "x.png")
    monkeypatch.setattr(budget, "free", lambda device: 90 * 60 * 9)
    with pytest.raises(
        BadRequest, match=r"x.png' cannot be read as an image: an image of 90x60 pixels takes 0.3 MiB in memory"
    ):
        open_image(tmp_path / "x.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_no_photograph(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(BadRequest, match=r"x.png' is a pipe, not a file; take it out"):
        open_image(tmp_path / "x.png")


def test_sixteen_bits_are_rounded_to_eight(tmp_path):
    levels = np.array([[0, 128, 129, 65535]], np.uint16)  # of 65535; 257 make one of 255
    Image.fromarray(levels).save(tmp_path / "x.png")
    assert np.asarray(open_image(tmp_path / "x.png"))[0, :, 0].tolist() == [0, 0, 1, 255]


def test_a_folder_is_no_photograph(tmp_path):
    (tmp_path / "x.png").mkdir()
    with pytest.raises(BadRequest, match="is a folder, not a file; take it out"):
        list(open_photographs(tmp_path))


def test_photographs_smaller_than_any_crop_are_left_out():
    images = Images([Pyramid(image(10, 10), 16), Pyramid(image(), 16)], share_drawn=0, seed=0)
    assert [pyramid.short for pyramid in images.photographs] == [0, 60]
    assert images.batch(0, 16, 8).shape == (8, 3, 16, 16)


def test_nothing_to_train_from():
    with pytest.raises(BadRequest, match="no photographs"):
        Images([], share_drawn=0.5, seed=0)
