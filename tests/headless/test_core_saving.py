"""Core nodes that save: files of 16 bits and of floats, files that move, and what savers pass on."""

import json

import numpy as np
import pytest
import torch
from exact_vae.headless import Graph, run
from exact_vae.headless.embedded import read_embedded
from exact_vae.vae_core.errors import BadPixels
from PIL import Image, ImageSequence

IMAGES = torch.rand(2, 5, 7, 4, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
EXR = {"format": "exr", "bit_depth": "32-bit float"}


def save(nodes, kind: str, images=IMAGES, **inputs):
    texts = {"prompt": {"1": {"\u00e9": 1}}, "extra_pnginfo": {"workflow": {"nodes": []}}}
    return nodes[kind]().run(images=images, filename_prefix="x", **inputs, **texts)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_of_16_bits(nodes, folders, channels):
    imagecodecs = pytest.importorskip("imagecodecs")
    format = {"format": "png", "bit_depth": "16-bit", "input_color_space": "sRGB"}
    answer = save(nodes, "SaveImageAdvanced", IMAGES[..., :channels], format=format)
    assert [one["filename"] for one in answer["ui"]["images"]] == ["x_00001.png", "x_00002.png"]
    found = imagecodecs.png_decode((folders.output / "x_00002.png").read_bytes())
    expected = (IMAGES[1, ..., :channels].clamp(0, 1) * 65535).to(torch.int32).numpy()
    assert found.dtype == np.uint16 and np.array_equal(found.reshape(expected.shape), expected)
    assert read_embedded(folders.output / "x_00001.png").keys() == {"prompt", "workflow"}


def read_exr(path) -> tuple[np.ndarray, dict]:
    """(its pixels as they lie there, its header)"""
    with pytest.importorskip("OpenEXR").File(str(path)) as file:
        (channels,) = file.channels().values()
        return np.array(channels.pixels), dict(file.header())


@pytest.mark.parametrize("space, half", [("sRGB", 0.21404114), ("HDR", 1 / 12), ("linear", 0.5)])
def test_exr(nodes, folders, space, half):
    """The light of a grey of 0.5: of IEC 61966-2-1 and ITU-R BT.2100-2."""
    images = IMAGES.clone()
    images[:, 0, 0, :3] = 0.5
    save(nodes, "SaveImageAdvanced", images, format={**EXR, "input_color_space": space})
    pixels, header = read_exr(folders.output / "x_00001.exr")
    assert np.allclose(pixels[0, 0, :3], half) and np.array_equal(pixels[..., 3], images[0, ..., 3].numpy())
    assert json.loads(header["prompt"]) == {"1": {"\u00e9": 1}} and pixels.dtype == np.float32
    assert np.array_equal(pixels[..., 0], images[0, ..., 0].numpy()) == (space == "linear")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_files_that_move(nodes, folders, channels):
    images = IMAGES[..., :channels]
    answer = save(nodes, "SaveAnimatedPNG", images, fps=7.0, compress_level=1)
    assert answer["ui"]["animated"] == (True,) and answer["result"][0] is images
    save(nodes, "SaveAnimatedWEBP", images, fps=7.0, lossless=True, quality=80, method="fastest")
    for name in ("x_00001_.png", "x_00002_.webp"):
        path = folders.output / name
        with Image.open(path) as file:
            frames = [
                (np.asarray(frame.convert("RGBA")), frame.info["duration"]) for frame in ImageSequence.Iterator(file)
            ]
        (_, first), (pixels, second) = frames
        assert first == second == 142
        opaque = pixels[..., 3] > 0  # colours that nobody sees may be dropped
        expected = (images[1] * 255).clamp(0, 255).to(torch.uint8).expand(5, 7, max(channels, 3)).numpy()
        assert np.array_equal(pixels[opaque][:, :3], expected[opaque][:, :3])
        assert read_embedded(path).keys() == {"prompt", "workflow"}


def test_no_file_of_nan(nodes, folders):
    options = {"SaveAnimatedPNG": 2, "SaveAnimatedWEBP": 4, "SaveImageAdvanced": 1}
    for kind, count in options.items():
        with pytest.raises(BadPixels, match="holds NaN"):
            nodes[kind]().run(IMAGES * float("nan"), "x", *[None] * count)
    assert not folders.output.exists() or not list(folders.output.iterdir())


def test_savers_pass_on_what_they_are_given(nodes, folders):
    graph = Graph()
    first = graph.add("SaveImage", images=graph.add("EmptyImage", width=4, height=4, batch_size=1, color=9),
                      filename_prefix="a")  # fmt: skip
    shown = graph.add("PreviewImage", images=first)
    mask = graph.add("MaskPreview", mask=graph.add("ImageToMask", image=shown, channel="blue"))
    last = graph.add("SaveText", text=graph.add("PreviewAny", source=mask), filename_prefix="t", format="md")
    compared = graph.add("ImageCompare", image_a=shown, compare_view="")
    results = run(graph, nodes)
    assert (folders.output / "t_00001.md").read_text().startswith("tensor")
    assert results.outputs[last.id]["files"][0]["filename"] == "t_00001.md"
    assert len(results.outputs[compared.id]["a_images"]) == 1 and not results.outputs[compared.id]["b_images"]


def test_words_of_a_prefix_that_stand_for_nothing_here(nodes):
    """As in core: a text has one pixel and a latent none, and only batches of files have a number in one."""
    prefix, latent = "%width%x%height%-%batch_num%", {"samples": torch.zeros(1, 4, 2, 2)}
    text = nodes["SaveText"]().save("a", prefix, "txt")["ui"]["files"]
    saved = nodes["SaveLatent"]().save(latent, prefix)["ui"]["latents"]
    moving = nodes["SaveAnimatedPNG"]().run(torch.zeros(1, 3, 5, 3), prefix, 6.0, 4)["ui"]
    names = [one["filename"] for one in (*text, *saved, *moving["images"])]
    assert names == [
        "1x1-%batch_num%_00001.txt", "0x0-%batch_num%_00001_.latent", "5x3-%batch_num%_00001_.png"]  # fmt: skip
    assert "animated" not in moving
    assert [nodes["SaveText"]().save("a", one, "txt")["ui"]["files"][0]["filename"] for one in ("", "a/..")] == [
        "._00001.txt", "._00002.txt"]  # fmt: skip
