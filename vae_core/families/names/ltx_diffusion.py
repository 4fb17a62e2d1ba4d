"""Names of LTX-2.5's diffusion decoder: Lightricks' are the reference, but for the layers that tell the time, and for
linear layers that have names of convolutions elsewhere.

The encoder beside it has those of LTX-Video's. In diffusers' files, which hold the decoder alone, queries, keys and
values are apart.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..shapes import Shapes
from . import ltx
from .layout import DIFFUSERS, ORIGINAL, Layout, Names, Weights
from .rules import both_ways

_PARTS = ("q", "k", "v")
_LAYERS = (
    ("^decoder.upsamples.#.proj.", "^decoder.upsamples.#.expand."),
    (".shared_adaln.proj.", ".shared_adaln.layer."),
)
_ORIGINAL = both_ways(
    *_LAYERS,
    (".attn.proj.", ".attn.o_proj."),
    (".t_embedder.mlp.0.", ".t_embedder.timestep_embedder.linear_1."),
    (".t_embedder.mlp.2.", ".t_embedder.timestep_embedder.linear_2."),
)
_DIFFUSERS = both_ways(
    *_LAYERS,
    (".attn.to_q.", ".attn.q_proj."),
    (".attn.to_k.", ".attn.k_proj."),
    (".attn.to_v.", ".attn.v_proj."),
    (".attn.to_out.0.", ".attn.o_proj."),
    (".attn.norm_q.", ".attn.q_norm."),
    (".attn.norm_k.", ".attn.k_norm."),
)


def is_original(own: Shapes) -> bool:
    return "decoder.conv_in_x_t.weight" in own and not is_diffusers(own)


def is_diffusers(own: Shapes) -> bool:
    return any(name.endswith(".attn.to_q.weight") for name in own)


def from_original(own: Shapes) -> Names:
    return {name: _ORIGINAL.read(name) for name in own}


def to_original(names: Iterable[str], config: Any = None) -> Names:
    return {name: _ORIGINAL.write(name) for name in names}


def from_diffusers(own: Shapes) -> Names:
    return {name: _DIFFUSERS.read(reference) for name, reference in ltx.from_diffusers(own).items()}


def to_diffusers(names: Iterable[str], config: Any = None) -> Names:
    return {name: _DIFFUSERS.write(written) for name, written in ltx.to_diffusers(names).items()}


def hold_fused(weights: Weights, config: Any) -> Weights:
    """As Lightricks has it."""
    if config.fused:
        return weights
    held: dict[str, Tensor] = {}
    for name, t in weights.items():
        if ".attn.q_proj." in name:
            parts = [weights[name.replace("q_proj", f"{part}_proj")] for part in _PARTS]
            held[name.replace("q_proj", "qkv")] = torch.cat(parts)
        elif ".attn.k_proj." not in name and ".attn.v_proj." not in name:
            held[name] = t
    return held


def hold_apart(weights: Weights, config: Any) -> Weights:
    """As diffusers has it."""
    held: dict[str, Tensor] = {}
    for name, t in weights.items():
        if ".attn.qkv." in name:
            parts = zip(_PARTS, t.chunk(len(_PARTS)), strict=True)
            held |= {name.replace("qkv", f"{part}_proj"): one for part, one in parts}
        else:
            held[name] = t
    return held


LIGHTRICKS = Layout(ORIGINAL, is_original, from_original, to_original, held=hold_fused)
LIGHTRICKS_DIFFUSERS = Layout(DIFFUSERS, is_diffusers, from_diffusers, to_diffusers, held=hold_apart)
