"""An image to a latent and back: our nodes, core's nodes, either loader."""

import numpy as np
import pytest
from exact_vae.vae_core.checkpoints import built_in
from support.comfyui_graphs import CORE, OURS, TILES, graph, in_comfyui, in_headless, pixels, round_trip
from support.comfyui_server import failure


@pytest.mark.parametrize("image", ["odd.png", "even.png"])
@pytest.mark.parametrize(
    "name", ["sd.safetensors", "taef2", built_in.NAME, "pixel_space", "checkpoints/full.safetensors"]
)
def test_pixels_equal_the_headless_run(server, tmp_path, image, name):
    nodes = round_trip(image, ("ExactVAELoader", {"vae_name": name}), "ExactVAEEncode", "ExactVAEDecode")
    ours = in_comfyui(server, nodes)
    assert np.array_equal(ours, in_headless(server, nodes, tmp_path))
    assert ours.shape == pixels(server.base / "input" / image).shape


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
@pytest.mark.parametrize("encode", ["ExactVAEEncode", "VAEEncode", "ExactVAETiledEncode"])
@pytest.mark.parametrize("decode", ["ExactVAEDecode", "VAEDecode", "ExactVAETiledDecode"])
def test_every_way_through_gives_one_image(server, loader, encode, decode):
    """Either loader, either encoder, either decoder: the same pixels, but for the last bit."""
    want = in_comfyui(server, round_trip("even.png", CORE, "VAEEncode", "VAEDecode"))
    got = in_comfyui(server, round_trip("even.png", loader, encode, decode))
    assert np.abs(got - want).max() <= 1


def test_cropping_is_core_s(server):
    """The image that core's encoder sees of an odd one."""
    want = in_comfyui(server, round_trip("odd.png", CORE, "VAEEncode", "VAEDecode"))
    nodes = round_trip("odd.png", OURS, "ExactVAEEncode", "ExactVAEDecode")
    nodes["3"]["inputs"]["odd_sizes"] = "crop"
    assert np.abs(in_comfyui(server, nodes) - want).max() <= 1


def test_our_vae_in_core_s_tiled_decode(server):
    """Core's tiles are no exact image, but they must be as good with our VAE as with core's."""
    want = in_comfyui(server, round_trip("even.png", CORE, "VAEEncode", "VAEDecodeTiled", **TILES))
    got = in_comfyui(server, round_trip("even.png", OURS, "VAEEncode", "VAEDecodeTiled", **TILES))
    assert np.abs(got - want).max() <= 1


def test_another_device_is_asked_for(server):
    """Select VAE Device copies the object and clones its patcher; what comes out still decodes."""
    if "SelectVAEDevice" not in server.get("/object_info"):
        pytest.skip("this ComfyUI is of a time before this node")
    nodes = graph(
        ("LoadImage", {"image": "even.png"}),
        OURS,
        ("SelectVAEDevice", {"vae": ["2", 0], "device": "default"}),
        ("ExactVAEEncode", {"pixels": ["1", 0], "vae": ["3", 0]}),
        ("VAEDecode", {"samples": ["4", 0], "vae": ["3", 0]}),
        ("SaveImage", {"images": ["5", 0], "filename_prefix": "device"}),
    )
    assert in_comfyui(server, nodes).shape == (56, 72, 3)


def test_a_latent_of_another_vae_gets_a_sentence(server):
    nodes = graph(
        ("EmptySD3LatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        OURS,
        ("ExactVAEDecode", {"samples": ["1", 0], "vae": ["2", 0]}),
        ("SaveImage", {"images": ["3", 0], "filename_prefix": "never"}),
    )
    said = failure(server.prompt(nodes))
    assert "this latent has 16 channels" in said and "'sd.safetensors' needs 4" in said
