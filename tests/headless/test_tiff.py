"""What is written as TIFF every reader reads."""

import numpy as np
import pytest
import tifffile
from exact_vae.headless import tiff
from exact_vae.vae_core import BadRequest
from PIL import Image

SIZE = (53, 37)


def drawn(channels: int = 3, size=SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(53, 37), (1, 1), (3, 3), (4, 4)], ids=str)
def test_what_is_written_is_read_by_all(tmp_path, monkeypatch, channels, size):
    monkeypatch.setattr(tiff, "STRIP", 1000)
    image = drawn(channels, size)
    tiff.write(tmp_path / "a.tif", (*size, channels), iter(np.array_split(image, 5)))
    assert np.array_equal(np.array(Image.open(tmp_path / "a.tif")).reshape(image.shape), image)
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif").reshape(image.shape), image)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize(("limit", "big"), [(2**32, False), (100, True)])
def test_a_large_file_is_a_bigtiff(tmp_path, monkeypatch, limit, big):
    monkeypatch.setattr(tiff, "CLASSIC", limit)
    tiff.write(tmp_path / "a.tif", (*SIZE, 3), iter([drawn()]))
    assert (tmp_path / "a.tif").read_bytes()[2] == (43 if big else 42)
    assert np.array_equal(np.array(Image.open(tmp_path / "a.tif")), drawn())


def test_what_cannot_be_written(tmp_path, monkeypatch):
    bands = iter([drawn()])
    with pytest.raises(BadRequest, match="cannot be written: there is no folder"):
        tiff.write(tmp_path / "none" / "a.tif", (*SIZE, 3), bands)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 2**20})())
    with pytest.raises(BadRequest, match=r"'.*a.tif' cannot be written: it needs 11 MiB, and 1.0 MiB are free there"):
        tiff.write(tmp_path / "a.tif", (2000, 2000, 3), bands)
    assert next(bands) is not None and list(tmp_path.iterdir()) == []
