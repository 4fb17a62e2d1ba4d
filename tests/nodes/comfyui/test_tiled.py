"""In bands and in tiles."""

import numpy as np
import pytest
from support.comfyui_graphs import CORE, OURS, TILES, in_comfyui, in_headless, pixels, tall
from support.comfyui_server import failure


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
@pytest.mark.parametrize("keep", ["automatic", "disk"])
def test_bands_give_the_image_of_the_whole(server, tmp_path, loader, keep):
    want = in_comfyui(server, tall(loader, "ExactVAEEncode", "ExactVAEDecode"))
    nodes = tall(loader, "ExactVAETiledEncode", "ExactVAETiledDecode", **TILES, keep=keep)
    entry = server.prompt(nodes)
    (path,) = server.images(entry)
    assert np.abs(pixels(path) - want).max() <= 1
    for node in ("3", "4"):
        (shown,) = entry["outputs"][node]["text"]
        assert shown.startswith("exact, in 3 strips, up to ") and shown.endswith(" of disk") == (keep == "disk")
    assert np.abs(in_headless(server, nodes, tmp_path) - want).max() <= 1


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
def test_blended_tiles_are_another_image(server, loader):
    """As core's are, which runs them three times; both are about as far from the whole."""
    want = in_comfyui(server, tall(loader, "ExactVAEEncode", "ExactVAEDecode"))
    entry = server.prompt(tall(loader, "ExactVAEEncode", "ExactVAETiledDecode", **TILES, mode="blended approximate"))
    (path,) = server.images(entry)
    (shown,) = entry["outputs"]["4"]["text"]
    assert shown.startswith("approximate, in 10 blended tiles, up to ")
    ours = np.abs(pixels(path) - want).mean()
    core_s = np.abs(
        in_comfyui(server, tall(loader, "ExactVAEEncode", "VAEDecodeTiled", **TILES))[:183, :75] - want
    ).mean()
    assert 1 < ours < 1.5 * core_s


def test_tiles_that_cannot_be_get_a_sentence(server):
    tiled = {**TILES, "overlap": 64, "mode": "blended approximate"}
    said = failure(server.prompt(tall(OURS, "ExactVAEEncode", "ExactVAETiledDecode", **tiled)))
    assert "tiles of 64 pixels cannot overlap by 64" in said
