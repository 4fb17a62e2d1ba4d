"""Weights of a small RAE under the names that others give them."""

import torch

from support.random_networks import random_weights
from support.small_networks import SMALL

EXACT = 1e-9
KINDS = {"dinov2": "rae", "siglip2": "rae: SigLIP2", "mae": "rae: MAE"}
SIDE, GRID, Z = 32, 2, 128
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def weights_of(kind: str) -> dict[str, torch.Tensor]:
    """By reference names; standard deviations are positive, and all positions matter."""
    drawn = random_weights(*SMALL[KINDS[kind]], torch.float64)
    drawn["_latents_std"], drawn["encoder_std"] = drawn["_latents_std"].abs() + 0.5, drawn["encoder_std"].abs() + 0.5
    return {name: 20 * t if "position" in name or name.endswith("token") else t for name, t in drawn.items()}


def near(got: torch.Tensor, want: torch.Tensor, bound: float = EXACT) -> bool:
    assert got.shape == want.shape and want.std() > 0.02
    return bool((got - want).abs().max() < bound * want.abs().max())


def in_transformers_4(name: str, kind: str, module: str) -> str:
    """transformers 4's name of a tensor of an encoder, which is the `module` of its class."""
    if not name.startswith("encoder."):
        return name
    name = name.removeprefix("encoder.")
    pairs = {
        "dinov2": [("layers.", "encoder.layer."), ("attention.o_proj", "attention.output.dense")],
        "mae": [("layers.", "encoder.layer."), ("attention.o_proj", "attention.output.dense"),
                ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"), ("norm1", "layernorm_before"),
                ("norm2", "layernorm_after")],
        "siglip2": [("layers.", "encoder.layers."), ("attention.o_proj", "self_attn.out_proj"),
                    ("attention.", "self_attn."), ("norm", "layer_norm"),
                    ("patch_embeddings.projection", "patch_embedding")],
    }[kind]  # fmt: skip
    for new, old in pairs:
        name = name.replace(new, old)
    if kind != "siglip2":
        for one, word in (("q", "query"), ("k", "key"), ("v", "value")):
            name = name.replace(f"attention.{one}_proj", f"attention.attention.{word}")
    return f"{module}.{name}"
