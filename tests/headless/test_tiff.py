"""TIFF files row by row: what is read are the numbers in the file, what is written every reader reads."""

import numpy as np
import pytest
import tifffile
import torch
from exact_vae.headless import image_files, tiff
from exact_vae.vae_core import BadPixels, BadRequest
from PIL import Image

SIZE = (53, 37)


def drawn(channels: int = 3, dtype=np.uint8, size=SIZE) -> np.ndarray:
    shape = (*size, channels) if channels > 1 else size
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def written(path, image: np.ndarray, **how):
    kind = "rgb" if image.ndim == 3 and 2 not in image.shape[-1:] else "minisblack"
    tifffile.imwrite(path, image, **{"photometric": kind, **how})
    return path


def read(path) -> torch.Tensor:
    file = tiff.rows(path)
    assert file
    image = torch.cat(list(file.read()))
    assert tuple(image.shape) == file.shape
    assert torch.equal(image, torch.cat(list(file.read())))  # and again
    return image


def same(got: torch.Tensor, image: np.ndarray) -> bool:
    want = torch.from_numpy(image.astype(np.float32) / np.iinfo(image.dtype).max)
    return torch.equal(got, want if want.ndim == 3 else want.unsqueeze(-1))


FILES = {
    "one strip": {},
    "strips": {"rowsperstrip": 7},
    "strips, deflate": {"rowsperstrip": 7, "compression": "zlib"},
    "strips, deflate, differences": {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
    "tiles": {"tile": (16, 32)},
    "tiles, deflate": {"tile": (16, 16), "compression": "zlib"},
    "BigTIFF": {"bigtiff": True, "rowsperstrip": 5},
    "the other byte order": {"byteorder": ">", "rowsperstrip": 5},
    "the other byte order, deflate": {"byteorder": ">", "rowsperstrip": 5, "compression": "zlib"},
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("how", FILES.values(), ids=list(FILES))
def test_every_way_to_store_an_image(tmp_path, monkeypatch, how, channels, dtype):
    monkeypatch.setattr(tiff, "PIECE", 1000)
    image = drawn(channels, dtype)
    assert same(read(written(tmp_path / "a.tif", image, **how)), image)


@pytest.mark.parametrize("how", [{}, {"rowsperstrip": 7, "compression": "zlib"}, {"tile": (16, 16)}], ids=str)
def test_planes_one_after_the_other(tmp_path, monkeypatch, how):
    monkeypatch.setattr(tiff, "PIECE", 1000)
    image = drawn(3, np.uint16)
    path = written(tmp_path / "a.tif", np.moveaxis(image, -1, 0), planarconfig="separate", **how)
    assert same(read(path), image)


def test_grey_with_alpha(tmp_path):
    image = drawn(2)
    path = written(tmp_path / "a.tif", image, planarconfig="contig", extrasamples=["unassalpha"])
    assert same(read(path), image)


@pytest.mark.parametrize("compression", [None, "tiff_adobe_deflate", "packbits"])
def test_files_of_another_writer(tmp_path, compression):
    image = drawn()
    Image.fromarray(image).save(tmp_path / "a.tiff", compression=compression)
    assert same(read(tmp_path / "a.tiff"), image)
    assert torch.equal(read(tmp_path / "a.tiff"), image_files.read(tmp_path / "a.tiff")[0][0])


def test_smaller_copies_are_passed_over(tmp_path):
    image = drawn()
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(image, photometric="rgb")
        file.write(image[::2, ::2], photometric="rgb", subfiletype=1)
    assert same(read(tmp_path / "a.tif"), image)


def test_no_more_than_a_strip_is_read_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "PIECE", 37 * 3 * 4)
    heights = {"as it is": [4] * 13 + [1], "strips": [7] * 7 + [4], "tiles": [16] * 3 + [5]}
    ways = {"strips": {"rowsperstrip": 7, "compression": "zlib"}, "tiles": {"tile": (16, 16)}}
    for name, want in heights.items():
        file = tiff.rows(written(tmp_path / "a.tif", drawn(), **ways.get(name, {})))
        assert file and [len(band) for band in file.read()] == want


def test_what_is_left_to_be_read_whole(tmp_path):
    path, image = tmp_path / "a.tif", drawn()
    colours = Image.fromarray(image).convert("P")
    colours.save(path)
    assert tiff.rows(path) is None
    assert torch.equal(image_files.read(path)[0][0], torch.from_numpy(np.array(colours.convert("RGB"))).float() / 255)


OTHERS = {
    "CMYK": lambda path, image: image.convert("CMYK").save(path),
    "1 bit": lambda path, image: image.convert("1").save(path),
    "JPEG": lambda path, image: image.save(path, compression="tiff_jpeg"),
    "two pages": lambda path, image: image.save(path, save_all=True, append_images=[image]),
    "turned": lambda path, image: image.save(path, tiffinfo={tiff.ORIENTATION: 6}),
    "white is 0": lambda path, image: written(path, drawn(1), photometric="miniswhite"),
    "associated alpha": lambda path, image: written(path, drawn(4), extrasamples=["assocalpha"]),
}


@pytest.mark.parametrize("save", OTHERS.values(), ids=OTHERS)
def test_other_kinds_are_left_to_be_read_whole(tmp_path, save):
    path = tmp_path / "a.tif"
    save(path, Image.fromarray(drawn()))
    assert tiff.rows(path) is None
    assert image_files.read(path)[0].shape[-1] == 3


def test_files_that_are_none(tmp_path):
    (tmp_path / "text.tif").write_text("this is no image")
    for name in ("text.tif", "none.tif", "a.png"):
        assert tiff.rows(tmp_path / name) is None
    Image.fromarray(drawn()).save(tmp_path / "png.tif", format="PNG")
    assert tiff.rows(tmp_path / "png.tif") is None
    written(tmp_path / "float.tif", drawn().astype(np.float32))
    assert tiff.rows(tmp_path / "float.tif") is None


@pytest.mark.parametrize("how", FILES.values(), ids=list(FILES))
def test_a_file_that_is_cut_short(tmp_path, how):
    path = written(tmp_path / "a.tif", drawn(), **how)
    path.write_bytes(path.read_bytes()[:-60])
    file = tiff.rows(path)
    assert file
    with pytest.raises(BadPixels, match=r"'a.tif' is cut short: 1 of its \d+ parts are not in the file"):
        next(file.read())


def test_a_part_that_is_not_there_is_not_black(tmp_path):
    path = written(tmp_path / "a.tif", drawn(), rowsperstrip=7, compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        counts = file.pages[0].tags["StripByteCounts"]
        counts.overwrite([0, *counts.value[1:]])
    with pytest.raises(BadPixels, match="1 of its 8 parts"):
        list(tiff.rows(path).read())  # type: ignore[union-attr]


def test_damaged_compression(tmp_path):
    path = written(tmp_path / "a.tif", drawn(), rowsperstrip=7, compression="zlib")
    data = bytearray(path.read_bytes())
    data[-300:-200] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(BadPixels, match=r"cannot read 'a.tif' as an image: .*zlib|decompress"):
        list(tiff.rows(path).read())  # type: ignore[union-attr]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(53, 37), (1, 1), (3, 3), (4, 4)], ids=str)
def test_what_is_written_is_read_by_all(tmp_path, monkeypatch, channels, size):
    monkeypatch.setattr(tiff, "STRIP", 1000)
    image = drawn(channels, size=size).reshape(*size, channels)
    tiff.write(tmp_path / "a.tif", (*size, channels), iter(np.array_split(image, 5)))
    assert same(read(tmp_path / "a.tif"), image)
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
