"""Graphs in API format, and their images out of a real ComfyUI and out of the headless runner."""

from pathlib import Path

import numpy as np
import torch
from exact_vae import NODE_CLASS_MAPPINGS, headless
from exact_vae.nodes import host
from PIL import Image
from safetensors.torch import save_file

from support.comfyui_server import failure
from support.headers import header

OURS = ("ExactVAELoader", {"vae_name": "sd.safetensors"})
CORE = ("VAELoader", {"vae_name": "sd.safetensors"})
TILES = {"tile_size": 64, "overlap": 32, "temporal_size": 64, "temporal_overlap": 8}


def graph(*nodes: tuple[str, dict]) -> dict:
    """Nodes 1, 2, ... in API format."""
    return {str(i + 1): {"class_type": kind, "inputs": inputs} for i, (kind, inputs) in enumerate(nodes)}


def round_trip(image: str, loader: tuple, encode: str, decode: str, **tiled) -> dict:
    return graph(
        ("LoadImage", {"image": image}),
        loader,
        (encode, {"pixels": ["1", 0], "vae": ["2", 0]}),
        (decode, {"samples": ["3", 0], "vae": ["2", 0], **tiled}),
        ("SaveImage", {"images": ["4", 0], "filename_prefix": "out"}),
    )


def tall(loader: tuple, encode: str, decode: str, **tiled) -> dict:
    """183 rows, in tiles of 64 pixels."""
    nodes = round_trip("tall.png", loader, encode, decode, **tiled)
    nodes["3"]["inputs"] |= tiled if "Tiled" in encode else {}
    nodes["4"]["inputs"] = {k: v for k, v in nodes["4"]["inputs"].items() if k not in tiled or "Tiled" in decode}
    return nodes


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def in_comfyui(server, nodes: dict) -> np.ndarray:
    """The only image that the graph saves; what nodes show is in another folder."""
    (path,) = server.saved_images(server.prompt(nodes))
    return pixels(path)


def in_headless(server, nodes: dict, tmp_path) -> np.ndarray:
    core = headless.core_nodes(server.base / "input", tmp_path, tmp_path, NODE_CLASS_MAPPINGS)
    with host.surroundings(server.base / "models"):
        headless.run(headless.parse(nodes), {**NODE_CLASS_MAPPINGS, **core})
    (path,) = tmp_path.glob("*.png")
    return pixels(path)


def run_and_read(server, *nodes: tuple[str, dict], of: tuple[int, int]):
    """What a graph's node `of` gives at that output, as TestWrite of comfyui_test_nodes.py wrote it."""
    name = f"{abs(hash(repr((nodes, of))))}.pt"
    entry = server.prompt(graph(*nodes, ("TestWrite", {"anything": [str(of[0]), of[1]], "name": name})))
    assert entry["status"]["status_str"] == "success", failure(entry)
    return torch.load(server.base / "output" / name, weights_only=True)


def from_header(server, name: str, of: str, narrowed: int = 1) -> None:
    """A file of models/vae of random weights, with the shapes of this header; layers so many times as narrow."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for key, shape in header(of)["shapes"].items():
        shape = [s // narrowed if narrowed > 1 and s % 96 == 0 else s for s in shape]
        fan_in = max(1, torch.Size(shape[1:]).numel())
        weights[key] = torch.randn(shape, generator=generator) * (fan_in**-0.5 if len(shape) > 1 else 0.1)
    save_file(weights, server.base / "models" / "vae" / name)


def small_wan(server, name: str) -> None:
    """Wan 2.1's VAE, a sixth as wide."""
    from_header(server, name, "wan21.original", 6)
