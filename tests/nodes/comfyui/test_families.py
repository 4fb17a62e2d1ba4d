"""VAEs of clips, and those that this pack does not run."""

import numpy as np
import pytest
from exact_vae.nodes.host.host_vae import TILED, WHOLE
from support.comfyui_graphs import TILES, from_header, graph, pixels, round_trip, small_wan, tall
from support.comfyui_server import failure


def test_a_vae_of_another_family_is_left_to_core(server):
    """Our nodes call core's own methods."""
    loader = ("TestStrangeVAE", {})
    entry = server.prompt(round_trip("odd.png", loader, "ExactVAEEncode", "ExactVAEDecode"))
    assert [pixels(path).shape for path in server.images(entry)] == [(61, 75, 3)]  # core would crop
    assert entry["outputs"]["4"]["text"] == [WHOLE]
    tiled = tall(loader, "ExactVAETiledEncode", "ExactVAETiledDecode", **TILES)
    for node in ("3", "4"):
        tiled[node]["inputs"]["mode"] = "blended approximate"
    entry = server.prompt(tiled)
    assert [pixels(path).shape for path in server.images(entry)] == [(183, 75, 3)]
    assert entry["outputs"]["3"]["text"] == entry["outputs"]["4"]["text"] == [TILED]
    info = graph(loader, ("ExactVAEInfo", {"vae_name": "the VAE that is connected", "vae": ["1", 0]}))
    assert "not supported by this pack" in server.prompt(info)["outputs"]["2"]["text"][0]
    said = failure(server.prompt(graph(loader, ("ExactVAESave", {"vae": ["1", 0], "filename_prefix": "x"}))))
    assert "does not support the family of this VAE" in said


def clip(server, file: str, loader: str, encode: str, decode: str, amount: int) -> np.ndarray:
    """So many frames, the last unlike the others, there and back."""
    tiles = {"tile_size": 64, "overlap": 0, "temporal_size": 8, "temporal_overlap": 4}
    nodes = graph(
        ("LoadImage", {"image": "even.png"}),
        ("RepeatImageBatch", {"image": ["1", 0], "amount": amount - 1}),
        ("ImageInvert", {"image": ["1", 0]}),
        ("ImageBatch", {"image1": ["2", 0], "image2": ["3", 0]}),
        (loader, {"vae_name": file}),
        (encode, {"pixels": ["4", 0], "vae": ["5", 0], **(tiles if "Tiled" in encode else {})}),
        (decode, {"samples": ["6", 0], "vae": ["5", 0], **(tiles if "Tiled" in decode else {})}),
        ("SaveImage", {"images": ["7", 0], "filename_prefix": "clip"}),
    )
    return np.stack([pixels(path) for path in sorted(server.images(server.prompt(nodes)))])


@pytest.mark.parametrize(
    ("loader", "encode", "decode"),
    [
        ("ExactVAELoader", "ExactVAEEncode", "ExactVAEDecode"),
        ("VAELoader", "ExactVAEEncode", "ExactVAEDecode"),
        ("ExactVAELoader", "VAEEncode", "VAEDecode"),
    ],
)
@pytest.mark.parametrize(("file", "amount"), [("wan.safetensors", 5), ("svd.safetensors", 3)])
def test_a_batch_is_a_clip_to_a_vae_of_clips(server, file, amount, loader, encode, decode):
    """As core takes it: five frames are two of Wan's latent, and of SVD's each is one."""
    small_wan(server, "wan.safetensors")
    if not (server.base / "models" / "vae" / "svd.safetensors").exists():
        from_header(server, "svd.safetensors", "svd.ldm")
    want = clip(server, file, "VAELoader", "VAEEncode", "VAEDecode", amount)
    found = clip(server, file, loader, encode, decode, amount)
    assert found.shape == (amount, 56, 72, 3) and np.abs(found - want).max() <= 1


def test_our_vae_of_clips_in_core_s_tiled_nodes(server):
    """Six frames, of which core encodes five; in tiles of the same frames, rows and columns as those of core's VAE."""
    small_wan(server, "wan.safetensors")
    way = ("VAEEncodeTiled", "VAEDecodeTiled", 6)
    want, found = (clip(server, "wan.safetensors", loader, *way) for loader in ("VAELoader", "ExactVAELoader"))
    assert found.shape == want.shape == (5, 56, 72, 3) and np.abs(found - want).max() <= 1
