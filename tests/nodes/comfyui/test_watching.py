"""What a person sees of a run, and how it is stopped."""

import io
import time

import numpy as np
import pytest
from exact_vae.vae_core.checkpoints import built_in
from exact_vae.vae_core.latents.previews import preview, published_factors
from exact_vae.vae_core.latents.spaces import SPACES
from PIL import Image
from support.comfyui_graphs import OURS, TILES, graph, run_and_read, tall
from support.comfyui_server import Browser

SIDE = 1024
AT_ONCE = 5.0  # seconds, of which most is waiting for one step of the network on a busy machine
MIB = 2**20
BUILT_IN = ("ExactVAELoader", {"vae_name": built_in.NAME})
NOISE = ("ExactLatentNoise", {"seed": 5, "width": SIDE, "height": SIDE, "batch_size": 1, "strength": 1.0,
                              "vae": ["1", 0]})  # fmt: skip


def test_the_plan_is_drawn_on_the_node(server):
    """As progress text, which the frontend draws on any node. A node that the cache answers for is not drawn anew."""
    nodes = tall(OURS, "ExactVAEEncode", "ExactVAETiledDecode", **TILES, keep="device")
    nodes["5"]["inputs"]["filename_prefix"] = "drawn"
    with Browser(server) as browser:
        entry = server.prompt(nodes, client=browser.name)
        texts = dict(data for kind, data in browser.listen() if kind == "text")
    assert entry["status"]["status_str"] == "success"
    assert texts["4"].split() == entry["outputs"]["4"]["text"][0].split()  # there it is one line
    assert texts["4"].startswith("exact, in 3 strips, up to ")


def decoding(node: str, seed: int) -> tuple:
    """Of latents of SD 1.x, 64 x 80."""
    tiles = {**TILES, "tile_size": 256} if node == "VAEDecodeTiled" else {}
    noise = {**NOISE[1], "width": 640, "height": 512, "seed": seed}
    return (
        ("ExactVAELoader", {"vae_name": "taesd"}),
        ("ExactLatentNoise", noise),
        (node, {"samples": ["2", 0], "vae": ["1", 0], **tiles}),
        ("PreviewImage", {"images": ["3", 0]}),
    )


@pytest.mark.parametrize("node", ["ExactVAEDecode", "ExactVAETiledDecode", "VAEDecode", "VAEDecodeTiled"])
def test_a_first_look_at_what_is_decoded(server, taesd, node):
    """The latent in colour, in the size the host enlarges it to; and not for who wants no previews."""
    nodes = decoding(node, len(node))
    with Browser(server) as browser:
        server.prompt(graph(*nodes), client=browser.name, preview_method="auto")
        seen = [data for kind, data in browser.listen() if kind == "image"]
    image = Image.open(io.BytesIO(seen[0]))
    assert (image.format, image.size) == ("JPEG", (512, 410))
    latent = run_and_read(server, *nodes[:2], of=(2, 0))["samples"]
    factors = published_factors("sd1", SPACES["sd1"])
    assert factors
    want = ((preview(latent, factors)[0].clamp(-1, 1) + 1) * 127.5).movedim(0, -1).numpy()
    found = np.asarray(image.resize((80, 64), Image.Resampling.NEAREST)).astype(float)
    assert np.corrcoef(found.ravel(), want.ravel())[0, 1] > 0.95

    with Browser(server) as browser:
        server.prompt(graph(*decoding(node, 99)), client=browser.name)
        assert not [data for kind, data in browser.listen() if kind == "image"]


def long(node: str) -> list:
    """Nodes that end with this one at work on a large image."""
    if "Decode" in node:
        last = (node, {"samples": ["2", 0], "vae": ["1", 0], **({"tile_size": 256} if "Tiled" in node else {})})
        return [BUILT_IN, NOISE, last, ("PreviewImage", {"images": ["3", 0]})]
    image = ("EmptyImage", {"width": SIDE, "height": SIDE, "batch_size": 1, "color": 0x336699})
    last = (node, {"pixels": ["2", 0], "vae": ["1", 0], **({"tile_size": 256} if "Tiled" in node else {})})
    return [BUILT_IN, image, last, ("ExactLatentInspect", {"samples": ["3", 0]})]


@pytest.mark.parametrize("node", ["VAEDecodeTiled", "VAEEncodeTiled"])
def test_core_s_tiled_nodes_have_one_bar(server, node):
    """It counts core's tiles, and begins anew neither with each nor with a look at what is decoded."""
    loader, (source, given), (_, inputs), after = long(node)
    before = (loader, (source, {**given, "width": 512, "height": 512}))
    with Browser(server) as browser:
        nodes = (*before, (node, {**TILES, **inputs, "overlap": 64}), after)
        server.prompt(graph(*nodes), client=browser.name, preview_method="auto")
        heard = list(browser.listen())
    told = [data for kind, data in heard if kind == "progress" and data["node"] == "3"]
    looks = [Image.open(io.BytesIO(data)) for kind, data in heard if kind == "image"]
    assert all(one.size == (512, 512) for one in looks) and bool(looks) == (node == "VAEDecodeTiled")
    values = [one["value"] for one in told]
    assert len(values) > 10 and values == sorted(values) and len({one["max"] for one in told if one["value"]}) == 1


def memory(server) -> tuple[int, int]:
    """(bytes in tensors, bytes in memory) of the server."""
    of = time.monotonic_ns() % 2**31
    (found,) = server.prompt(graph(("TestReport", {"of": of})))["outputs"]["1"]["bytes"]
    return found["tensors"], found["resident"]


@pytest.mark.parametrize(
    "node", ["ExactVAEDecode", "ExactVAETiledDecode", "VAEDecode", "ExactVAEEncode", "ExactVAETiledEncode", "VAEEncode"]
)
def test_a_long_run_stops_when_it_is_cancelled(server, node):
    """At once, also untiled; nothing of it stays in memory; and the next graph runs."""
    whole = long(node)
    made = [("PreviewAny", {"source": [number, 0]}) for number in ("1", "2")]
    server.prompt(graph(*whole[:2], *made))  # what is cached anyway
    tensors, resident = memory(server)
    far = 0.0
    with Browser(server) as browser:
        number = server.queue(graph(*whole), browser.name)
        cancelled = None
        for kind, data in browser.listen():
            if kind == "progress" and data["node"] == "3":
                far = data["value"] / data["max"]
            if cancelled is None and far > 0.1:
                server.post("/interrupt")
                cancelled = time.monotonic()
        waited = time.monotonic() - (cancelled or 0)
    entry = server.wait_for_end(number)
    assert ("execution_interrupted" in dict(entry["status"]["messages"])) and far < 0.8
    assert waited < AT_ONCE
    after = memory(server)
    assert after[0] - tensors < MIB and after[1] - resident < 64 * MIB
    assert server.prompt(graph(BUILT_IN, ("ExactVAEInfo", {"vae_name": built_in.NAME})))["status"]["completed"]
