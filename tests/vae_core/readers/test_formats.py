"""Formats beside plain PNG and TIFF: read in all their bits, or named."""

import os
import struct

import numpy as np
import pytest
import torch
from exact_vae.vae_core import BadPixels, BadRequest, readers
from exact_vae.vae_core.files.kinds import kind_of_bytes
from exact_vae.vae_core.readers import jxl
from PIL import Image

SIZE = (24, 40)


def drawn(channels: int, bits: int) -> np.ndarray:
    """Smooth, so that lossy formats stay near it; every bit counts."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    planes = [(x + c * y + 1) / (SIZE[1] + c * SIZE[0]) for c in range(channels)]
    return (np.stack(planes, -1) * (2**bits - 1)).round().astype(np.uint16 if bits > 8 else np.uint8)


def is_read_as(path, levels: np.ndarray, white: float) -> bool:
    image, mask = readers.read(path)
    values = torch.from_numpy(levels.astype(np.float32) / np.float32(white))
    colours = values[..., : 1 if levels.shape[-1] < 3 else 3].expand(-1, -1, 3)
    hidden = 1 - values[None, ..., -1] if levels.shape[-1] in (2, 4) else torch.zeros(1, 64, 64)
    return torch.equal(image, colours[None]) and torch.equal(mask, hidden)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_jpeg_xl(tmp_path, channels, bits):
    codecs = pytest.importorskip("imagecodecs")
    levels = drawn(channels, bits)
    data = codecs.jpegxl_encode(levels.squeeze(), lossless=True, bitspersample=bits)
    (tmp_path / "x.jxl").write_bytes(data)
    assert jxl.read_header(data)[:4] == (*SIZE, bits, False)
    assert is_read_as(tmp_path / "x.jxl", levels, 2**bits - 1)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (256, 256), (300, 400), (600, 800), (257, 1000), (540, 960)])
def test_sizes_of_jpeg_xl(size):
    codecs = pytest.importorskip("imagecodecs")
    header = jxl.read_header(codecs.jpegxl_encode(np.zeros((*size, 3), np.uint8)))
    assert (header.height, header.width, header.bits) == (*size, 8)


def test_floats_in_jpeg_xl(tmp_path):
    codecs = pytest.importorskip("imagecodecs")
    values = drawn(3, 16).astype(np.float32) / 50000
    (tmp_path / "x.jxl").write_bytes(codecs.jpegxl_encode(values, lossless=True))
    assert is_read_as(tmp_path / "x.jxl", values, 1)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif(tmp_path, channels, bits):
    codecs = pytest.importorskip("imagecodecs")
    if not (hasattr(codecs, "AVIF") and codecs.AVIF.available) or "AVIF" not in Image.registered_extensions().values():
        pytest.skip("no AVIF in these builds of Pillow and imagecodecs")
    levels = drawn(channels, bits)
    (tmp_path / "x.avif").write_bytes(codecs.avif_encode(levels, bitspersample=bits, level=100))
    assert is_read_as(tmp_path / "x.avif", levels, 2**bits - 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000(tmp_path, channels, bits):
    codecs = pytest.importorskip("imagecodecs")
    levels = drawn(channels, bits)
    (tmp_path / "x.jp2").write_bytes(codecs.jpeg2k_encode(levels, reversible=True, bitspersample=bits))
    assert is_read_as(tmp_path / "x.jp2", levels, 2**bits - 1)


def test_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    for bits, mode in ((8, "RGB"), (10, "RGB;16")):
        levels = drawn(3, bits)
        stored = levels if bits == 8 else levels << (16 - bits)
        image = heif.from_bytes(mode=mode, size=SIZE[::-1], data=stored.tobytes())
        image.save(tmp_path / "x.heic", quality=-1, chroma=444, matrix_coefficients=0)  # lossless
        assert is_read_as(tmp_path / "x.heic", levels, 2**bits - 1)


def test_heic_without_its_reader_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(BadPixels, match=r"it is a HEIC image: install pillow-heif \(pip install pillow-heif\), or"):
        readers.read(tmp_path / "x.heic")


@pytest.mark.parametrize("white", [1, 100, 255, 1023, 65535])
@pytest.mark.parametrize("kind", [5, 6])
def test_pnm_of_any_white(tmp_path, kind, white):
    levels = np.random.default_rng(0).integers(0, white + 1, (*SIZE, 3 if kind == 6 else 1))
    levels = levels.astype(np.uint16 if white > 255 else np.uint8)
    head = f"P{kind}\n# by hand\n{SIZE[1]} {SIZE[0]}\n{white}\n".encode()
    (tmp_path / "x.ppm").write_bytes(head + levels.astype(">u2" if white > 255 else "u1").tobytes())
    assert is_read_as(tmp_path / "x.ppm", levels, white)
    (tmp_path / "x.ppm").write_bytes(head + bytes(9))
    with pytest.raises(BadPixels, match=r"cannot read 'x.ppm' as an image: "):
        readers.read(tmp_path / "x.ppm")


def test_what_would_be_cut_to_eight_bits_is_refused(tmp_path):
    head = struct.pack(">HBBHHHHii", 474, 0, 2, 3, 4, 4, 3, 0, 65535)  # SGI: magic, stored as is, 2 bytes, sizes, range
    (tmp_path / "x.sgi").write_bytes(head.ljust(512, b"\0") + bytes(4 * 4 * 3 * 2))
    with pytest.raises(BadPixels, match="it has 16 bits a colour, of which only 8 could be read: save it as PNG or TI"):
        readers.read(tmp_path / "x.sgi")


OTHERS = {
    "html": (b"<!DOCTYPE html><html><body>not found", "it is a web page (HTML): download the image itself"),
    "hdr": (b"#?RADIANCE\n", "it is a Radiance HDR image: convert it"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "it is a drawing (SVG): render it"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "it is a PostScript document: export its page"),
    "pdf": (b"%PDF-1.7", "it is a PDF document: export its page as PNG"),
    "mp4": (b"\0\0\0\x18ftypisom\0\0\0\0", "it is a video: take frames out of it"),
    "raw": (b"II*\0\x10\0\0\0CR\x02\0", "it is a camera's raw file: develop it"),
    "workflow": (b'{"last_node_id": 9, "nodes": []}', "it is a workflow of nodes: run it with `exact-vae run`"),
    "json": (b'{"a": 1}', "it is a text in JSON: check the name"),
    "weights": (struct.pack("<Q", 2) + b"{}", "it is a safetensors file: weights or a latent: check the name"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS: fetch the file itself"),
    "zip": (b"PK\x03\x04", "it is a ZIP archive: unpack it"),
    "empty": (b"", "it is an empty file: copy or download it again"),
    "zeros": (bytes(1000), "it is a file of zeros: copy or download it again"),
    "text": (b"an image was here", "it is a text: check the name"),
    "noise": (bytes(range(1, 255)), "it is of no format that is known here: open it in an image editor"),
    "torn": (b"\x89PNG\r\n\x1a\n\0\0", "it is a PNG image: copy or download it again, for it is damaged"),
}


@pytest.mark.parametrize(("data", "words"), OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_what_is_no_image_is_named(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    assert readers.rows(tmp_path / name) is None
    with pytest.raises(BadPixels) as caught:
        readers.read(tmp_path / name)
    said = str(caught.value)
    assert said.startswith(f"cannot read '{name}' as an image: {words}") and "\n" not in said


@pytest.mark.parametrize(
    ("start", "what"), [(b"\xff\xd8\xff\xe0", "a JPEG image"), (b"BM", "a BMP image"), (b"RIFF\0\0\0\0WEBP", "a WebP")]
)
def test_kinds_of_files(start, what):
    assert kind_of_bytes(start).what.startswith(what)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    for ask in (readers.read, readers.rows, readers.read_first):
        with pytest.raises(BadRequest, match=r"x.png' is a pipe, not a file\.$"):
            ask(tmp_path / "x.png")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="devices of POSIX")
def test_a_device_is_not_read(tmp_path):
    (tmp_path / "x.png").symlink_to("/dev/zero")
    with pytest.raises(BadRequest, match=r"x.png' is a device, not a file\.$"):
        readers.read(tmp_path / "x.png")
    with pytest.raises(BadRequest, match=r" is a folder, not a file\.$"):
        readers.read(tmp_path)
    with pytest.raises(BadRequest, match=r"^there is no file '.*none'\.$"):
        readers.read(tmp_path / "none")
