"""Image files of every format, damaged: cut short, with bits turned and numbers of headers put to extremes."""

import io
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unittest.mock import patch

import imagecodecs
import numpy as np
import tifffile
import torch
from exact_vae.vae_core import readers
from exact_vae.vae_core.execution.plans import budget
from PIL import Image, features

from attack.harness import Attack

SIZE = (24, 40)
FREE = 2**28  # bytes that the reader is told are free
HEAD = 300  # bytes in which most headers lie
EXTREMES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\1\0\0")


@cache
def make_sound_files() -> dict[str, bytes]:
    """One file of each format and kind, as it should be."""
    return {**dict(_pillow_files()), **dict(_tiff_files()), **dict(_deep_files())}


def _levels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, (*SIZE, 4), np.uint16)


def _pillow_files() -> Iterator[tuple[str, bytes]]:
    alpha = Image.fromarray((_levels() >> 8).astype(np.uint8))
    plain = alpha.convert("RGB")
    moving = {"save_all": True, "append_images": [plain.rotate(9)] * 3}
    palette, cmyk = plain.convert("P"), plain.convert("CMYK")
    kinds = {
        **{name: (plain, {}) for name in ("BMP", "JPEG", "TGA", "JPEG2000")},
        **{f"{name} moving": (plain, moving) for name in ("GIF", "PNG", "TIFF")},
        "WEBP moving": (plain, {**moving, "lossless": True}),
        "PNG": (alpha, {}),
        "ICO": (alpha.crop((0, 0, 16, 16)), {}),
        "PNG palette": (palette, {"transparency": 1}),
        "TIFF palette": (palette, {}),
        "JPEG CMYK": (cmyk, {}),
        "TIFF CMYK": (cmyk, {}),
        "TIFF bits": (plain.convert("1"), {"compression": "group4"}),
    }
    if features.check("avif"):
        kinds["AVIF"] = (plain, {})
    for name, (image, how) in kinds.items():
        file = io.BytesIO()
        image.save(file, format=name.partition(" ")[0], **how)
        yield name, file.getvalue()


def _tiff_files() -> Iterator[tuple[str, bytes]]:
    deep = _levels()
    for compression in (None, "zlib", "lzw", "packbits", "jpeg", "lzma", "zstd"):
        yield f"TIFF {compression}", _tiff((deep[..., :3] >> 8).astype(np.uint8), compression, rowsperstrip=7)
    for compression, predictor in ((None, None), ("zlib", 2), ("lzw", 2)):
        yield f"TIFF 16 {compression}", _tiff(deep, compression, tile=(16, 16), predictor=predictor)
    yield "TIFF floats", _tiff(deep.astype(np.float32) / 65535, "zlib", predictor=3)
    yield "TIFF planar", _tiff(np.moveaxis(deep, -1, 0), "zlib", planarconfig="separate")


def _tiff(levels: np.ndarray, compression: str | None, **how) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, levels, photometric="rgb", compression=compression, **how)
    return file.getvalue()


def _deep_files() -> Iterator[tuple[str, bytes]]:
    deep = _levels()
    yield "PNG 16", imagecodecs.png_encode(deep)
    yield "JPEG XL", imagecodecs.jpegxl_encode(deep, lossless=True)
    yield "JPEG XL lossy", imagecodecs.jpegxl_encode((deep >> 8).astype(np.uint8), distance=1)
    yield "JPEG2000 16", imagecodecs.jpeg2k_encode(deep[..., :3], reversible=True)
    yield "PNM", b"P6 40 24 65535\n" + deep[..., :3].tobytes()


def damage(rng: random.Random) -> tuple[str, bytes]:
    """(the name of the file that was sound, what became of it)"""
    name = rng.choice(sorted(make_sound_files()))
    data = bytearray(make_sound_files()[name])
    if rng.random() < 0.15:
        return name, bytes(data[: rng.randrange(len(data) + 1)])
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        _damage_one(data, rng)
    return name, bytes(data)


def _damage_one(data: bytearray, rng: random.Random) -> None:
    """At the head, at the end (where a TIFF's table is) or anywhere: turn a bit, put an extreme, copy a part."""
    places = (rng.randrange(min(HEAD, len(data))), len(data) - 1 - rng.randrange(min(HEAD, len(data))),
              rng.randrange(len(data)))  # fmt: skip
    at, way = rng.choice(places), rng.random()
    if way < 0.5:
        data[at] = rng.choice((0, 1, 127, 255, data[at] ^ (1 << rng.randrange(8))))
    elif way < 0.8:
        data[at : at + 4] = rng.choice((*EXTREMES, rng.randbytes(4)))
    else:
        start, length = rng.randrange(len(data)), rng.randrange(1, 32)
        data[at : at + length] = data[start : start + length]


def read(case: tuple[str, bytes], folder: Path) -> None:
    """Whole and row by row give the same, and nothing that no file says: each twice."""
    path = folder / "x.png"
    path.write_bytes(case[1])
    with patch.object(budget, "free", _tell_free):
        image, mask = readers.read(path)
        again = readers.read(path)
        assert torch.equal(image, again[0]) and torch.equal(mask, again[1]), "another image the second time"
        assert image.isfinite().all() and image.shape[-1] == 3 and len(mask) == len(image)
        rows = readers.rows(path)
        if rows:
            whole = torch.cat(list(rows.read()))
            assert torch.equal(whole[..., : 1 if whole.shape[-1] < 3 else 3].expand(-1, -1, 3), image[0])


def _tell_free(device: torch.device) -> int:
    return FREE


ATTACKS = (Attack("image files", damage, read, 20_000),)
