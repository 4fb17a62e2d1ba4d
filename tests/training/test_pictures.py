import numpy as np
import pytest
import torch
from exact_vae.training.pictures import Pictures, Pyramid, photographs, shrunk, varied
from exact_vae.training.procedural import drawn
from exact_vae.vae_core import BadRequest
from PIL import Image


def picture(width: int = 90, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_step_sees_the_same_pictures_whenever_it_is_asked():
    a, b = (Pictures([Pyramid(picture(), 16)], share_drawn=0.5, seed=3) for _ in range(2))
    a.batch(1, 16, 4)
    assert torch.equal(a.batch(7, 16, 4), b.batch(7, 16, 4))
    assert not torch.equal(a.batch(7, 16, 4), a.batch(8, 16, 4))


def test_batches_are_pixels():
    x = Pictures([Pyramid(picture(), 16)], share_drawn=0.3, seed=0).batch(0, 16, 6)
    assert x.shape == (6, 3, 16, 16) and x.dtype == torch.float32
    assert x.min() >= -1 and x.max() <= 1


def test_crops_come_from_every_size_that_holds_them():
    pyramid = Pyramid(picture(), 16)
    assert [min(level.shape[:2]) for level in pyramid.levels] == [60, 40, 26, 17]
    assert all(pyramid.crop(26, np.random.default_rng(i)).shape == (26, 26, 3) for i in range(20))


def test_small_photographs_are_passed_over_for_large_crops():
    pictures = Pictures([Pyramid(picture(20, 20), 16), Pyramid(picture(), 16)], share_drawn=0, seed=0)
    assert pictures.batch(0, 48, 8).shape == (8, 3, 48, 48)


def test_shrinking_keeps_the_shape():
    assert shrunk(picture(90, 60), 20).size == (30, 20)


def test_variation_keeps_range_and_size():
    rng = np.random.default_rng(5)
    crops = [varied(np.full((8, 8, 3), level, np.uint8), rng) for level in (0, 128, 255) for _ in range(20)]
    assert all(crop.shape == (8, 8, 3) and crop.min() >= -1 and crop.max() <= 1 for crop in crops)


def test_drawn_pictures_differ_and_are_rgb():
    pictures = [drawn(32, np.random.default_rng(i)) for i in range(40)]
    assert all(p.shape == (32, 32, 3) and p.dtype == np.uint8 for p in pictures)
    assert len({p.tobytes() for p in pictures}) == 40


def test_a_folder_without_photographs(tmp_path):
    (tmp_path / "notes.txt").write_text("none here")
    with pytest.raises(BadRequest, match="no photographs"):
        list(photographs(tmp_path))


def test_nothing_to_train_from():
    with pytest.raises(BadRequest, match="no photographs"):
        Pictures([], share_drawn=0.5, seed=0)
