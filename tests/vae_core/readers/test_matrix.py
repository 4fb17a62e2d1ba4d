"""Every way to store the same numbers as TIFF or PNG: what is read are those numbers, and what other readers read.

The truth is the array that was written. TIFF files are written by tifffile, PNG files by the few lines below; OpenCV
(libtiff and libpng) reads them too, where it knows the kind.
"""

import itertools
import struct
import zlib

import numpy as np
import pytest
import tifffile
import torch
from exact_vae.vae_core import readers

H, W = 11, 13
RANDOM = np.random.default_rng(0)
TURNED = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
          5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[:, ::-1],
          7: lambda a: a.swapaxes(0, 1)[::-1, ::-1], 8: lambda a: a.swapaxes(0, 1)[::-1]}  # fmt: skip


def numbers(channels: int, dtype) -> np.ndarray:
    """(H, W, channels), of all levels; floats lie in [0, 1]."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return RANDOM.random((H, W, channels)).astype(kind)
    return RANDOM.integers(0, np.iinfo(kind).max, (H, W, channels), kind, endpoint=True)


def unit(levels: np.ndarray) -> np.ndarray:
    """In [0, 1], float32."""
    white = 1 if levels.dtype.kind == "f" else np.iinfo(levels.dtype).max
    return levels.astype(np.float32) / np.float32(white)


def check(path, colours: np.ndarray, alpha: np.ndarray | None = None, exactly: bool = True) -> None:
    """colours: (H, W, 1 or 3) in [0, 1]. alpha: (H, W)"""
    image, mask = readers.read(path)
    bound = 0 if exactly else 1e-6
    want = torch.from_numpy(np.broadcast_to(colours, (*colours.shape[:2], 3)).copy())
    assert image.shape == (1, *want.shape) and image.dtype == torch.float32
    assert (image[0] - want).abs().max() <= bound, path
    if alpha is None:
        assert torch.equal(mask, torch.zeros(1, 64, 64))
    else:
        assert (mask[0] - (1 - torch.from_numpy(np.ascontiguousarray(alpha)))).abs().max() <= bound, path
    if rows := readers.rows(path):
        whole = torch.cat(list(rows.read()))
        assert torch.equal(whole[..., : 1 if whole.shape[-1] < 3 else 3].expand(-1, -1, 3), image[0])


STORED = list(itertools.product((None, "zlib", "lzw", "packbits"), (False, True), "<>", (None, (16, 16))))


def ways(dtype, planar: bool):
    """(keywords of tifffile) for each compression, predictor, byte order, and strips or tiles."""
    for compression, predictor, order, tile in STORED:
        if predictor and compression in (None, "packbits"):
            continue
        how = {"compression": compression, "byteorder": order, "planarconfig": "separate" if planar else "contig"}
        if predictor:
            how["predictor"] = 3 if np.dtype(dtype).kind == "f" else 2
        yield {**how, **({"tile": tile} if tile else {"rowsperstrip": 4})}


def save(path, levels: np.ndarray, **how) -> None:
    tifffile.imwrite(path, np.moveaxis(levels, -1, 0) if how.get("planarconfig") == "separate" else levels, **how)


@pytest.mark.parametrize("planar", [False, True], ids=["contiguous", "planar"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f2", "f4", "f8"])
@pytest.mark.parametrize("alpha", [None, "unassalpha", "assocalpha", "unspecified"])
def test_rgb_tiff(tmp_path, dtype, alpha, planar):
    for n, how in enumerate(ways(dtype, planar)):
        levels, path = numbers(4 if alpha else 3, dtype), tmp_path / f"{n}.tif"
        save(path, levels, photometric="rgb", **how, **({"extrasamples": [alpha]} if alpha else {}))
        values = unit(levels)
        colours, opacity = values[..., :3], values[..., 3] if alpha in ("unassalpha", "assocalpha") else None
        if alpha == "assocalpha":
            many = np.divide(colours, opacity[..., None], out=colours.copy(), where=opacity[..., None] > 0)
            colours = many.clip(0, 1)
        check(path, colours, opacity, exactly=alpha != "assocalpha")


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("alpha", [False, True])
def test_grey_tiff(tmp_path, dtype, photometric, alpha):
    for n, how in enumerate(ways(dtype, False)):
        levels, path = numbers(1 + alpha, dtype), tmp_path / f"{n}.tif"
        extra = {"extrasamples": ["unassalpha"]} if alpha else {}
        how = how if alpha else {key: value for key, value in how.items() if key != "planarconfig"}
        save(path, levels if alpha else levels[..., 0], photometric=photometric, **how, **extra)
        white = 1 if levels.dtype.kind == "f" else np.iinfo(levels.dtype).max
        grey = unit((white - levels[..., :1]).astype(levels.dtype)) if photometric == "miniswhite" else unit(levels)
        check(path, grey[..., :1], unit(levels)[..., 1] if alpha else None)


@pytest.mark.parametrize("factor", [1, 256, 257, None])
def test_palettes_of_tiff(tmp_path, factor):
    table = RANDOM.integers(0, 256, (3, 256)).astype(np.uint16)
    table[:, 0] = 255
    stored = table * factor if factor else RANDOM.integers(0, 65536, (3, 256)).astype(np.uint16)
    for n, how in enumerate(ways("u1", False)):
        levels = numbers(1, "u1")[..., 0]
        how = {key: value for key, value in how.items() if key != "planarconfig"}
        save(tmp_path / f"{n}.tif", levels, photometric="palette", colormap=stored.astype(np.uint16), **how)
        want = unit(table.astype(np.uint8)) if factor else unit(stored)
        check(tmp_path / f"{n}.tif", np.moveaxis(want[:, levels], 0, -1))


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("planar", [False, True], ids=["contiguous", "planar"])
def test_cmyk_tiff(tmp_path, dtype, planar):
    for n, how in enumerate(ways(dtype, planar)):
        levels = numbers(4, dtype)
        save(tmp_path / f"{n}.tif", levels, photometric="separated", **how)
        values = unit(levels)
        check(tmp_path / f"{n}.tif", (1 - values[..., :3]) * (1 - values[..., 3:]), exactly=False)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("orientation", TURNED)
def test_turned_tiff(tmp_path, dtype, orientation):
    levels = numbers(3, dtype)
    tag = (274, "H", 1, orientation, True)
    save(tmp_path / "a.tif", levels, photometric="rgb", extratags=[tag])
    check(tmp_path / "a.tif", TURNED[orientation](unit(levels)))


def packed(levels: np.ndarray, bits: int) -> bytes:
    """Rows of (H, n) integers, each row from a new byte, the highest bit first."""
    each = (levels[..., None].astype(np.int64) >> np.arange(bits)[::-1]) & 1
    return np.packbits(each.reshape(len(levels), -1).astype(np.uint8), 1).tobytes()


def tiff_by_hand(levels: np.ndarray, bits: int, photometric: int) -> bytes:
    """A TIFF of one strip, by TIFF 6.0, which knows integers of any number of bits. levels: (H, W, C)"""
    h, w, c = levels.shape
    data = packed(levels.reshape(h, -1), bits)
    many = struct.pack(f">{c}H", *[bits] * c)
    at = 8 + len(data) + len(data) % 2
    tags = [(256, 3, 1, w), (257, 3, 1, h), (258, 3, c, bits if c == 1 else at), (259, 3, 1, 1),
            (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, c), (278, 3, 1, h),
            (279, 4, 1, len(data))]  # fmt: skip
    packing = {3: ">HHIHxx", 4: ">HHII"}
    entries = (struct.pack(packing[tag[1] if tag[2] == 1 else 4], *tag) for tag in tags)
    table = struct.pack(">H", len(tags)) + b"".join(entries) + bytes(4)
    body = data + bytes(len(data) % 2) + many
    return struct.pack(">2sHI", b"MM", 42, 8 + len(body)) + body + table


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8, 10, 12, 14, 16])
@pytest.mark.parametrize(("channels", "photometric"), [(1, 0), (1, 1), (3, 2)], ids=["white is 0", "grey", "RGB"])
def test_any_number_of_bits_in_tiff(tmp_path, bits, channels, photometric):
    levels = RANDOM.integers(0, 2**bits, (H, W, channels)).astype(np.uint16)
    (tmp_path / "a.tif").write_bytes(tiff_by_hand(levels, bits, photometric))
    shown = 2**bits - 1 - levels if photometric == 0 else levels
    check(tmp_path / "a.tif", shown.astype(np.float32) / np.float32(2**bits - 1))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG's colour type; a palette's is 3
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))  # Adam7


def png_by_hand(levels: np.ndarray, bits: int, kind: int, interlaced: bool, before: bytes, after: bytes) -> bytes:
    """A PNG without filters. before, after: chunks before and after the pixels. levels: (H, W, C)"""
    parts = [levels[y::dy, x::dx] for y, x, dy, dx in PASSES] if interlaced else [levels]
    raw = b""
    for part in (part for part in parts if part.size):
        rows = packed(part.reshape(len(part), -1), bits)
        n = len(rows) // len(part)
        raw += b"".join(b"\0" + rows[i : i + n] for i in range(0, len(rows), n))
    head = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], bits, kind, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + chunk(b"IDAT", zlib.compress(raw)) + after
            + chunk(b"IEND", b""))  # fmt: skip


def exif(orientation: int) -> bytes:
    return chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHxx", 274, 3, 1, orientation) + bytes(4))


@pytest.mark.parametrize("interlaced", [False, True], ids=["in order", "interlaced"])
@pytest.mark.parametrize(
    ("channels", "bits"), [(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (2, 8), (2, 16), (3, 8), (3, 16), (4, 8), (4, 16)]
)
def test_png(tmp_path, channels, bits, interlaced):
    levels = RANDOM.integers(0, 2**bits, (H, W, channels)).astype(np.uint16)
    values = levels.astype(np.float32) / np.float32(2**bits - 1)
    colours, alpha = values[..., : 1 if channels < 3 else 3], values[..., -1] if channels in (2, 4) else None
    for orientation, early in itertools.product((1, 3, 6, 7), (True, False)):
        turn, chunks = TURNED[orientation], (exif(orientation), b"") if early else (b"", exif(orientation))
        (tmp_path / "a.png").write_bytes(png_by_hand(levels, bits, KINDS[channels], interlaced, *chunks))
        check(tmp_path / "a.png", turn(colours), None if alpha is None else turn(alpha))


@pytest.mark.parametrize("interlaced", [False, True], ids=["in order", "interlaced"])
@pytest.mark.parametrize(("channels", "bits"), [(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (3, 8), (3, 16)])
def test_png_with_a_transparent_colour(tmp_path, channels, bits, interlaced):
    levels = RANDOM.integers(0, 2**bits, (H, W, channels)).astype(np.uint16)
    levels[:, 3] = key = levels[2, 3]
    data = png_by_hand(levels, bits, KINDS[channels], interlaced, chunk(b"tRNS", key.astype(">u2").tobytes()), b"")
    (tmp_path / "a.png").write_bytes(data)
    opaque = (levels != key).any(-1).astype(np.float32)
    check(tmp_path / "a.png", levels.astype(np.float32) / np.float32(2**bits - 1), opaque)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
def test_png_with_a_palette(tmp_path, bits, transparent):
    table = RANDOM.integers(0, 256, (2**bits, 3)).astype(np.uint8)
    opacity = RANDOM.integers(0, 256, 2**bits).astype(np.uint8)
    levels = RANDOM.integers(0, 2**bits, (H, W, 1)).astype(np.uint8)
    chunks = chunk(b"PLTE", table.tobytes()) + (chunk(b"tRNS", opacity.tobytes()) if transparent else b"")
    (tmp_path / "a.png").write_bytes(png_by_hand(levels, bits, 3, False, chunks, b""))
    alpha = unit(opacity[levels[..., 0]]) if transparent else None
    check(tmp_path / "a.png", unit(table[levels[..., 0]]), alpha)


@pytest.mark.parametrize("ending", ["tif", "png"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_opencv_reads_the_same(tmp_path, ending, dtype, channels):
    cv2 = pytest.importorskip("cv2")
    levels, path = numbers(channels, dtype), tmp_path / f"a.{ending}"
    assert cv2.imwrite(str(path), levels)
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).reshape(H, W, channels)
    if channels > 1:
        found = found[..., [2, 1, 0, 3][:channels]]
    check(path, unit(found)[..., :3], unit(found)[..., 3] if channels == 4 else None)
