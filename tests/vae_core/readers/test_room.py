"""Room is asked for before an image is decoded, for all of its frames; memory that is not there is told."""

import zlib

import numpy as np
import pytest
import tifffile
import torch
from exact_vae.vae_core import BadPixels, DoesNotFit, readers
from exact_vae.vae_core.execution.plans import budget
from exact_vae.vae_core.readers import raster, reading
from PIL import Image

SIDE = 50
MOVING = ("x.gif", "x.png", "x.webp", "x.tif")


def moving(path, count: int = 60):
    frames = [Image.new("RGB", (SIDE, SIDE), (i, 255 - i, i % 2)) for i in range(count)]
    how = {"lossless": True} if path.suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **how)
    return path


@pytest.mark.parametrize("name", MOVING)
def test_all_frames_are_counted_before_one_is_decoded(tmp_path, monkeypatch, name):
    path = moving(tmp_path / name)
    need = SIDE * SIDE * (60 * reading.KEPT + reading.DECODING)
    monkeypatch.setattr(budget, "free", lambda device: need)
    assert readers.read(path)[0].shape == (60, SIDE, SIDE, 3)
    monkeypatch.setattr(budget, "free", lambda device: need - 1)
    monkeypatch.setattr(raster, "_to_values", None)  # would fail if it were called
    with pytest.raises(DoesNotFit) as caught:
        readers.read(path)
    what = "an image of 60 frames of 50x50 pixels takes 2.4 MiB in memory, and 2.4 MiB are free"
    assert str(caught.value) == f"cannot read '{name}' as an image: {what}."


@pytest.mark.parametrize("name", MOVING)
def test_only_the_first_frame_needs_the_room_of_one(tmp_path, monkeypatch, name):
    monkeypatch.setattr(budget, "free", lambda device: SIDE * SIDE * (reading.KEPT + reading.DECODING))
    assert readers.read_first(moving(tmp_path / name)).shape == (1, SIDE, SIDE, 3)


def test_a_header_that_promises_much_is_not_believed_with_memory(tmp_path):
    path = moving(tmp_path / "x.png", 3)
    data = bytearray(path.read_bytes())
    at = data.index(b"acTL") + 4
    data[at : at + 4] = (2**31 - 1).to_bytes(4, "big")
    data[at + 8 : at + 12] = zlib.crc32(data[at - 4 : at + 8]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(BadPixels, match="it has 2147483647 frames, and 10000 are read at most"):
        readers.read(path)


def test_too_many_pages_of_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("exact_vae.vae_core.readers.tiff.MOST_FRAMES", 5)
    path = moving(tmp_path / "x.tif", 6)
    with pytest.raises(BadPixels, match="it has 6 pages, and 5 are read at most"):
        readers.read(path)


def test_a_file_that_is_larger_than_the_memory(tmp_path):
    """Of no bytes on disk, but a terabyte to whoever reads it."""
    with (tmp_path / "x.webp").open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBP")
        file.truncate(2**40)
    with pytest.raises(DoesNotFit, match=r"cannot read 'x.webp' as an image: the file takes 1024.0 GiB in memory"):
        readers.read(tmp_path / "x.webp")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_ends_on_the_way_is_told(tmp_path, monkeypatch, error):
    def fail(*shape):
        raise error

    monkeypatch.setattr(torch, "empty", fail)
    with pytest.raises(DoesNotFit, match=r"^cannot read 'x.gif' as an image: it needs more memory than is free\.$"):
        readers.read(moving(tmp_path / "x.gif"))


def test_what_is_asked_for_is_enough(tmp_path, monkeypatch):
    """The largest of what each format holds at once, as torch and numpy count it."""
    import tracemalloc

    asked = []
    monkeypatch.setattr(reading, "demand_bytes", lambda path, size, *how: asked.append(size))
    levels = np.zeros((400, 500, 4), np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", levels, photometric="rgb", extrasamples=["assocalpha"])
    Image.fromarray(levels[..., :3].astype(np.uint8)).save(tmp_path / "plain.png")
    Image.fromarray(levels.astype(np.uint8)).convert("P").save(tmp_path / "x.gif", transparency=0)
    for name in ("deep.tif", "plain.png", "x.gif"):
        readers.read(tmp_path / name)  # what is imported on the way does not count
        tracemalloc.start()
        image, mask = readers.read(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1] + 4 * (image.numel() + mask.numel())  # torch's own are not traced
        tracemalloc.stop()
        assert peak <= asked[-1], name
