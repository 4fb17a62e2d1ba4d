"""Images of odd sizes with what people have beside them, and a cache of them that tests share."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.batch import Loading, Recipe, Request, build
from PIL import Image

SIZES = ((50, 40), (40, 50), (32, 32), (100, 33))


@pytest.fixture(autouse=True)
def one_thread():
    """As a cache is encoded: another number of threads rounds differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_photos(folder: Path) -> Path:
    """Four images with a caption, and what people have beside them: broken, empty, small, twice."""
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        levels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"image {number}\n")
    whole = (folder / "0.png").read_bytes()
    (folder / "more" / "twice.png").write_bytes(whole)
    (folder / "cut.png").write_bytes((folder / "3.png").read_bytes()[:-3000])
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(folder / "small.png")
    return folder


@pytest.fixture
def photos(tmp_path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A folder with `photos` and a cache `out` of them with flips and posteriors. Not to be written to."""
    place = tmp_path_factory.mktemp("cache")
    photos = make_photos(place / "photos")
    recipe = Recipe((32, 32), 16, flip=True, posterior="mean+logvar")
    build(Request(photos, place / "out", Loading(dtype=torch.float32), recipe))
    return place


@pytest.fixture
def own(made, tmp_path) -> Path:
    """A copy of `made`'s cache, to be spoiled."""
    return Path(shutil.copytree(made / "out", tmp_path / "own"))
