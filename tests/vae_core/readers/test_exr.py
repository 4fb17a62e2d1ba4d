"""OpenEXR files: light becomes values, alpha is divided out, and what cannot be read is told apart."""

import numpy as np
import pytest
import torch
from exact_vae.headless import exr as writing
from exact_vae.vae_core import BadPixels, readers
from exact_vae.vae_core.images import from_light, to_light

OpenEXR = pytest.importorskip("OpenEXR")

LIGHT = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
REC_2020 = (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329)


def write(path, channels, **header):
    known = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File({**known, **header}, channels).write(str(path))
    return path


def curve(light: np.ndarray) -> torch.Tensor:
    x = light.astype(np.float64)
    return torch.from_numpy(np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_colours_and_grey(tmp_path, kind):
    light = LIGHT.astype(kind)
    found = readers.read_first(write(tmp_path / "x.exr", {"RGB": light[..., :3].copy()}))[0]
    assert torch.allclose(found.double(), curve(light[..., :3]), atol=2e-5)
    grey = readers.read_first(write(tmp_path / "y.exr", {"Y": light[..., 0].copy()}))[0]
    assert torch.allclose(grey.double(), curve(light[..., :1]).expand(-1, -1, 3), atol=2e-5)
    assert readers.measure(tmp_path / "x.exr") == (6, 5)


def test_colours_are_divided_by_alpha(tmp_path):
    straight, alpha = LIGHT[..., :3], LIGHT[..., 3:].copy()
    alpha[0] = 0
    path = write(tmp_path / "x.exr", {"RGBA": np.concatenate([straight * alpha, alpha], -1)})
    found = readers.read_with_alpha(path)[0]
    assert torch.allclose(found[1:, :, :3].double(), curve(straight[1:]), atol=1e-4)
    assert torch.equal(found[..., 3:], torch.from_numpy(alpha)) and not found[0].any()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_is_written_is_read(tmp_path, channels):
    image = torch.rand(6, 5, channels, generator=torch.Generator().manual_seed(0)) * 2 - 0.5
    if channels == 4:
        image[..., 3].clamp_(0.1, 1)
    writing.write(tmp_path / "x.exr", writing.levels(image, 32))
    found = readers.read_with_alpha(tmp_path / "x.exr")[0]
    assert (found[..., :channels] - image).abs().max() < 2e-6


def test_the_curve_goes_both_ways():
    x = torch.linspace(-2, 4, 10001, dtype=torch.float64)
    assert (from_light(to_light(x)) - x).abs().max() < 1e-7  # the standard's two pieces meet but for that
    assert to_light(torch.tensor(0.5)).item() == pytest.approx(0.21404114)


REFUSED = {
    "layers": ({"beauty.R": LIGHT[..., 0].copy()}, {}, "its channels are beauty.R: save R, G and B"),
    "integers": ({"RGB"[i]: np.ones((4, 4), np.uint32) for i in range(3)}, {}, "its numbers are no floats"),
    "wide": ({"RGB": LIGHT[..., :3].copy()}, {"chromaticities": REC_2020}, "its colours are not those of Rec. 709"),
    "window": (
        {"RGB": LIGHT[..., :3].copy()},
        {"displayWindow": (np.array([0, 0], np.int32), np.array([9, 9], np.int32))},
        "its pixels are not those of its frame",
    ),
    "nan": ({"RGB": np.full((4, 4, 3), np.nan, np.float32)}, {}, "it holds NaN or infinity"),
}


@pytest.mark.parametrize(("channels", "header", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_read_is_said(tmp_path, channels, header, words):
    with pytest.raises(BadPixels, match=words):
        readers.read(write(tmp_path / "x.exr", channels, **header))


def test_damage_is_found(tmp_path):
    data = write(
        tmp_path / "x.exr", {"RGB": np.random.default_rng(1).random((64, 64, 3)).astype(np.float16)}
    ).read_bytes()
    for broken in (data[:-3000], data[:100], data[:6000] + bytes(300) + data[6300:]):
        (tmp_path / "x.exr").write_bytes(broken)
        with pytest.raises(BadPixels, match="it is an OpenEXR image that is damaged or cut short"):
            readers.read(tmp_path / "x.exr")


def test_without_the_package(tmp_path, monkeypatch):
    write(tmp_path / "x.exr", {"RGB": LIGHT[..., :3].copy()})
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    with pytest.raises(BadPixels, match="it needs OpenEXR: pip install OpenEXR"):
        readers.read(tmp_path / "x.exr")
