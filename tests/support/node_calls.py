"""Calls nodes as a graph calls them, and makes small inputs for them."""

import torch
from exact_vae.nodes import NODE_CLASS_MAPPINGS

TAG = {"family": "kl", "channels": 4, "ratio": 8, "latent": [8, 8], "size": [60, 61]}  # of a latent (1, 4, 8, 8)


def run_node(node: str, **inputs):
    cls = NODE_CLASS_MAPPINGS[node]
    return getattr(cls(), cls.FUNCTION)(**inputs)


def call(node: str, **inputs):
    found = run_node(node, **inputs)
    return (found["result"] if isinstance(found, dict) else found)[0]


def text(node: str, **inputs) -> str:
    """The text that the node shows."""
    (shown,) = run_node(node, **inputs)["ui"]["text"]
    return shown


def sample_image(h=20, w=28, channels=3):
    return torch.rand(1, h, w, channels, generator=torch.Generator().manual_seed(0))


def latent(*shape, seed=1, **more):
    return {"samples": torch.randn(shape, generator=torch.Generator().manual_seed(seed)), **more}
