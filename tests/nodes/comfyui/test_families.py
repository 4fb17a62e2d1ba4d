"""VAEs of clips, and those that this pack does not run."""

import numpy as np
import pytest
from comfyui_graphs import TILES, graph, pixels, round_trip, small_wan, tall
from comfyui_server import failure
from exact_vae.nodes.host_codec import TILED, WHOLE


def test_a_vae_of_another_family_is_left_to_core(server):
    """Our nodes call core's own methods."""
    loader = ("TestStrangeVAE", {})
    entry = server.prompt(round_trip("odd.png", loader, "ExactVAEEncode", "ExactVAEDecode"))
    assert [pixels(path).shape for path in server.pictures(entry)] == [(61, 75, 3)]  # core would crop
    assert entry["outputs"]["4"]["text"] == [WHOLE]
    tiled = tall(loader, "ExactVAETiledEncode", "ExactVAETiledDecode", **TILES)
    for node in ("3", "4"):
        tiled[node]["inputs"]["mode"] = "blended approximate"
    entry = server.prompt(tiled)
    assert [pixels(path).shape for path in server.pictures(entry)] == [(183, 75, 3)]
    assert entry["outputs"]["3"]["text"] == entry["outputs"]["4"]["text"] == [TILED]
    info = graph(loader, ("ExactVAEInfo", {"vae_name": "the VAE that is connected", "vae": ["1", 0]}))
    assert "this pack does not run" in server.prompt(info)["outputs"]["2"]["text"][0]
    said = failure(server.prompt(graph(loader, ("ExactVAESave", {"vae": ["1", 0], "filename_prefix": "x"}))))
    assert "does not run this VAE's family and cannot name its weights" in said


@pytest.mark.parametrize("loader", ["ExactVAELoader", "VAELoader"])
def test_a_batch_is_a_clip_to_a_vae_of_clips(server, loader):
    """As core's nodes take it: five frames are two of the latent, and come back as five pictures."""
    small_wan(server, "wan.safetensors")

    def frames(encode: str, decode: str, loader: str) -> np.ndarray:
        nodes = graph(
            ("LoadImage", {"image": "even.png"}),
            ("RepeatImageBatch", {"image": ["1", 0], "amount": 5}),
            (loader, {"vae_name": "wan.safetensors"}),
            (encode, {"pixels": ["2", 0], "vae": ["3", 0]}),
            (decode, {"samples": ["4", 0], "vae": ["3", 0]}),
            ("SaveImage", {"images": ["5", 0], "filename_prefix": "clip"}),
        )
        return np.stack([pixels(path) for path in sorted(server.pictures(server.prompt(nodes)))])

    want, found = frames("VAEEncode", "VAEDecode", "VAELoader"), frames("ExactVAEEncode", "ExactVAEDecode", loader)
    assert found.shape == (5, 56, 72, 3) and np.abs(found - want).max() <= 1
