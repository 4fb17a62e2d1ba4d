"""TIFF files row by row: what is read are the numbers in the file, in whatever way it is stored."""

import numpy as np
import pytest
import tifffile
import torch
from exact_vae.vae_core import BadPixels, DoesNotFit, readers
from exact_vae.vae_core.execution.plans import budget
from exact_vae.vae_core.readers import tiff
from PIL import Image, __version__

SIZE = (53, 37)


def drawn(channels: int = 3, dtype=np.uint8, size=SIZE) -> np.ndarray:
    shape = (*size, channels) if channels > 1 else size
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def written(path, image: np.ndarray, **how):
    kind = "rgb" if image.ndim == 3 and 2 not in image.shape[-1:] else "minisblack"
    tifffile.imwrite(path, image, **{"photometric": kind, **how})
    return path


def read(path) -> torch.Tensor:
    file = readers.rows(path)
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
    assert torch.equal(read(tmp_path / "a.tiff"), readers.read(tmp_path / "a.tiff")[0][0])


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
        file = readers.rows(written(tmp_path / "a.tif", drawn(), **ways.get(name, {})))
        assert file and [len(band) for band in file.read()] == want


PLAIN = {
    "palette": lambda path, image: image.convert("P").save(path),
    "CMYK": lambda path, image: image.convert("CMYK").save(path),
    "1 bit": lambda path, image: image.convert("1").save(path),
    "JPEG": lambda path, image: image.save(path, compression="tiff_jpeg"),
    "white is 0": lambda path, image: written(path, drawn(1), photometric="miniswhite"),
    "floats": lambda path, image: written(path, drawn().astype(np.float32) / 255),
}


@pytest.mark.parametrize("save", PLAIN.values(), ids=PLAIN)
def test_all_kinds_of_colours_row_by_row_are_those_of_the_whole(tmp_path, save):
    path = tmp_path / "a.tif"
    save(path, Image.fromarray(drawn()))
    assert torch.equal(read(path).expand(*SIZE, 3), readers.read(path)[0][0])


OTHERS = {
    "two pages": lambda path, image: image.save(path, save_all=True, append_images=[image]),
    "turned": lambda path, image: image.save(path, tiffinfo={tiff.ORIENTATION: 6}),
}


@pytest.mark.parametrize("save", OTHERS.values(), ids=OTHERS)
def test_others_are_left_to_be_read_whole(tmp_path, save):
    path = tmp_path / "a.tif"
    save(path, Image.fromarray(drawn()))
    assert readers.rows(path) is None
    assert readers.read(path)[0].shape[-1] == 3


@pytest.mark.skipif(int(__version__.partition(".")[0]) < 13, reason="Pillow reads none such before version 13")
def test_luma_and_chroma_are_left_to_libtiff(tmp_path):
    grey = np.repeat(drawn(1)[..., None], 3, -1)
    written(tmp_path / "a.tif", np.concatenate([grey[..., :1], np.full((*SIZE, 2), 128, np.uint8)], -1),
            photometric="ycbcr", subsampling=(1, 1))  # fmt: skip
    assert readers.rows(tmp_path / "a.tif") is None
    assert (readers.read(tmp_path / "a.tif")[0][0] * 255 - torch.from_numpy(grey)).abs().max() < 1.001


REFUSED = {
    "signed": (lambda: drawn(1).astype(np.int16), {}, "its numbers are integers with a sign of 16 bits, which have no"),
    "32 bits": (lambda: drawn(1).astype(np.uint32), {}, "its numbers are integers of 32 bits, which have no agreed"),
    "complex": (lambda: drawn(1).astype(np.complex64), {}, "its numbers are complex numbers of 64 bits"),
    "NaN": (lambda: np.full(SIZE, np.nan, np.float32), {}, "it holds NaN or infinity"),
    "channels": (lambda: drawn(5), {"photometric": "minisblack", "planarconfig": "contig",
                                    "extrasamples": [0, 0, 0, 0]}, "its 5 channels are no colours"),
    "CIELab": (lambda: drawn(3), {"photometric": "cielab"}, "its 3 numbers a pixel are no grey, RGB or CMYK"),
    "copies": (lambda: drawn(3), {"subfiletype": 1}, "it holds no image but smaller copies"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "how", "words"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_agreed_colours_is_refused(tmp_path, make, how, words):
    written(tmp_path / "a.tif", make(), **how)
    with pytest.raises(BadPixels, match=rf"^cannot read 'a.tif' as an image: {words}"):
        readers.read(tmp_path / "a.tif")


@pytest.mark.parametrize(("found", "words"), [(True, "save it with deflate"), (None, "install imagecodecs")])
def test_a_compression_that_is_not_known(tmp_path, monkeypatch, found, words):
    path = written(tmp_path / "a.tif", drawn(), rowsperstrip=7, compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["Compression"].overwrite(32771)  # CCITT of words, of the nineties
    monkeypatch.setattr(tiff, "find_spec", lambda name: found)
    assert readers.rows(path) is None
    with pytest.raises(BadPixels, match=f"it is compressed with CCIRLEW, which is not read here: {words}"):
        readers.read(path)


def test_a_part_beyond_the_memory_is_not_tried(tmp_path, monkeypatch):
    path = written(tmp_path / "a.tif", drawn(), tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("TileWidth", "TileLength"):
            file.pages[0].tags[name].overwrite(2**16)
    monkeypatch.setattr(budget, "free", lambda device: 2**30)
    with pytest.raises(DoesNotFit, match=r"cannot read 'a.tif' as an image: a part of it takes 24.0 GiB in memory"):
        list(readers.rows(path).read())  # type: ignore[union-attr]


def test_files_that_are_none(tmp_path):
    for name in ("text.tif", "a.png"):
        (tmp_path / name).write_text("this is no image")
    for name in ("text.tif", "a.png"):
        assert readers.rows(tmp_path / name) is None
    Image.fromarray(drawn()).save(tmp_path / "png.tif", format="PNG")
    assert readers.rows(tmp_path / "png.tif") is None
    written(tmp_path / "complex.tif", drawn().astype(np.complex64))
    assert readers.rows(tmp_path / "complex.tif") is None


def test_the_ending_does_not_count(tmp_path):
    path = written(tmp_path / "a.png", drawn())
    assert same(read(path), drawn())


@pytest.mark.parametrize("how", FILES.values(), ids=list(FILES))
def test_a_file_that_is_cut_short(tmp_path, how):
    path = written(tmp_path / "a.tif", drawn(), **how)
    path.write_bytes(path.read_bytes()[:-60])
    file = readers.rows(path)
    assert file
    with pytest.raises(BadPixels, match=r"'a.tif' is cut short: 1 of its \d+ parts are not in the file"):
        next(file.read())


def test_a_part_that_is_not_there_is_not_black(tmp_path):
    path = written(tmp_path / "a.tif", drawn(), rowsperstrip=7, compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        counts = file.pages[0].tags["StripByteCounts"]
        counts.overwrite([0, *counts.value[1:]])
    with pytest.raises(BadPixels, match="1 of its 8 parts"):
        list(readers.rows(path).read())  # type: ignore[union-attr]


def test_planes_that_are_neither_together_nor_apart(tmp_path):
    """What the parts do not cover would be whatever lay in memory."""
    how = {"planarconfig": "separate", "tile": (16, 16)}
    path = written(tmp_path / "a.tif", np.moveaxis(drawn(), -1, 0), **how)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["PlanarConfiguration"].overwrite(3)
    with pytest.raises(BadPixels, match="its parts do not cover the rows from 0 on"):
        readers.read(path)


def test_damaged_compression(tmp_path):
    path = written(tmp_path / "a.tif", drawn(), rowsperstrip=7, compression="zlib")
    data = bytearray(path.read_bytes())
    data[-300:-200] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(BadPixels, match=r"cannot read 'a.tif' as an image: .*zlib|decompress"):
        list(readers.rows(path).read())  # type: ignore[union-attr]
