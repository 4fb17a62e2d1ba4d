"""Graphs in API format, and their pictures out of a real ComfyUI and out of the headless runner."""

from pathlib import Path

import numpy as np
import torch
from exact_vae import NODE_CLASS_MAPPINGS, headless
from exact_vae.nodes import host
from PIL import Image
from safetensors.torch import save_file
from samples import header

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
    (path,) = server.pictures(server.prompt(nodes))
    return pixels(path)


def in_headless(server, nodes: dict, tmp_path) -> np.ndarray:
    core = headless.core_nodes(server.base / "input", tmp_path, tmp_path, NODE_CLASS_MAPPINGS)
    with host.surroundings(server.base / "models"):
        headless.run(headless.parse(nodes), {**NODE_CLASS_MAPPINGS, **core})
    (path,) = tmp_path.glob("*.png")
    return pixels(path)


def random_file(server, name: str, of: str) -> None:
    """A file of models/vae with the shapes of this header."""
    generator = torch.Generator().manual_seed(0)
    weights = {n: (torch.randn(s, generator=generator) * 0.02).half() for n, s in header(of)["shapes"].items()}
    save_file(weights, server.base / "models" / "vae" / name)
