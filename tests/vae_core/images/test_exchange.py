"""Pillow's images, numpy's arrays, torch's bytes to pixels and back: no level is lost, what is ambiguous is refused."""

import io

import numpy as np
import pytest
import torch
from exact_vae.vae_core import (
    BadPixels,
    BadRequest,
    from_numpy,
    from_pil,
    from_uint8,
    to_numpy,
    to_pil,
    to_uint8,
)
from PIL import Image

ALL_LEVELS = np.arange(256, dtype=np.uint8).reshape(8, 32)
COLOURS = np.stack([ALL_LEVELS, ALL_LEVELS[::-1], ALL_LEVELS[:, ::-1], 255 - ALL_LEVELS // 2], -1)
MODES = {"L": 1, "RGB": 3, "RGBA": 4}


@pytest.mark.parametrize("mode", MODES)
def test_every_level_survives_pillow(mode):
    image = Image.fromarray(COLOURS).convert(mode)
    pixels = from_pil([image, image], MODES[mode])
    assert pixels.shape == (2, MODES[mode], 8, 32) and pixels.dtype is torch.float32
    for back in to_pil(pixels):
        assert back.mode == mode and np.array_equal(np.array(back), np.array(image))


def test_every_level_survives_numpy_and_bytes():
    for channels in (3, 4):
        levels = COLOURS[None, ..., :channels]
        assert np.array_equal(to_numpy(from_numpy(levels, channels), levels=True), levels)
        planes = torch.from_numpy(levels).movedim(-1, 1)
        assert torch.equal(to_uint8(from_uint8(planes, channels)), planes)
        assert torch.equal(from_uint8(planes[0], channels), from_numpy(levels[0], channels))


def test_ends_of_the_range():
    for white in (np.uint8(255), np.uint16(65535), np.float16(1), np.float64(1)):
        array = np.array([[0, white]], dtype=white.dtype)
        assert from_numpy(array).unique().tolist() == [-1, 1]
    assert to_numpy(torch.tensor([-3.0, 0, 3]).reshape(1, 1, 1, 3)).flatten().tolist() == [0, 0.5, 1]


def test_sixteen_bits_are_kept():
    deep = np.arange(0, 65536, 257, dtype=np.uint16).reshape(8, 32) | 1
    pixels = from_pil(Image.fromarray(deep), 1)
    assert torch.equal(pixels, from_numpy(deep, 1)) and len(pixels.unique()) == 256


def test_grey_is_repeated_and_alpha_fits_the_vae():
    grey = from_pil(Image.fromarray(ALL_LEVELS))
    assert torch.equal(grey[:, 0], grey[:, 1]) and grey.shape[1] == 3
    assert from_pil(Image.fromarray(COLOURS)).shape[1] == 3
    assert from_pil(Image.fromarray(COLOURS[..., :3]), 4)[:, 3].unique().tolist() == [1]


def test_an_image_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLOURS[..., :3]).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert from_pil(image).shape == (1, 3, 32, 8)


def test_frames_of_a_clip_come_one_after_the_other():
    clip = torch.linspace(-1, 1, 5).reshape(1, 1, 5, 1, 1).expand(2, 3, 5, 4, 4)
    assert to_numpy(clip).shape == (10, 4, 4, 3) and len(to_pil(clip)) == 10 and to_uint8(clip).shape == clip.shape
    assert to_numpy(clip)[:5, 0, 0, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(file, "png")
    return file.getvalue()


def closed() -> Image.Image:
    with Image.open(io.BytesIO(png())) as image:
        pass
    return image


def test_pixels_of_eight_bits():
    assert to_uint8(torch.zeros(1, 3, 4, 4).to(torch.float8_e4m3fn)).unique().tolist() == [128]


def test_grey_that_was_multiplied_by_its_alpha():
    image = Image.new("LA", (4, 4), (200, 128))
    pixels = from_pil(image.convert("La"), 4)
    assert (to_uint8(pixels)[0, :, 0, 0].int() - torch.tensor([200, 200, 200, 128])).abs().max() <= 1


BAD = {
    "a path": lambda: from_pil("image.png"),
    "a list of paths": lambda: from_pil(["image.png"]),
    "no images": lambda: from_pil([]),
    "two sizes": lambda: from_pil([Image.new("RGB", (4, 4)), Image.new("RGB", (4, 5))]),
    "no agreed white": lambda: from_pil(Image.new("F", (4, 4))),
    "cut short": lambda: from_pil(Image.open(io.BytesIO(png()[:-200]))),
    "closed": lambda: from_pil(closed()),
    "int64": lambda: from_numpy(np.zeros((4, 4), np.int64)),
    "five channels": lambda: from_numpy(np.zeros((4, 4, 5), np.uint8)),
    "planes": lambda: from_numpy(np.zeros((3, 8, 9), np.uint8)),
    "nothing": lambda: from_numpy(np.zeros((0, 4), np.uint8)),
    "levels as floats": lambda: from_numpy(np.full((4, 4), 255.0)),
    "pixels as an image": lambda: from_numpy(np.full((4, 4), -0.9)),
    "NaN": lambda: from_numpy(np.full((4, 4), np.nan)),
    "floats as bytes": lambda: from_uint8(torch.zeros(1, 3, 4, 4)),
    "one image to numpy": lambda: to_numpy(torch.zeros(3, 4, 4)),
    "bytes to numpy": lambda: to_numpy(torch.zeros(1, 3, 4, 4, dtype=torch.uint8)),
    "NaN to Pillow": lambda: to_pil(torch.full((1, 3, 4, 4), float("nan"))),
    "infinity to levels": lambda: to_uint8(torch.full((1, 3, 4, 4), float("inf"))),
    "sparse pixels": lambda: to_numpy(torch.zeros(1, 3, 4, 4).to_sparse()),
    "pixels without numbers": lambda: to_pil(torch.zeros(1, 3, 4, 4, device="meta")),
    "a latent to Pillow": lambda: to_pil(torch.zeros(1, 16, 4, 4)),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_image(case):
    with pytest.raises(BadPixels):
        BAD[case]()


def test_channels_that_no_vae_takes():
    with pytest.raises(BadRequest, match="7 channels"):
        from_numpy(ALL_LEVELS, 7)
