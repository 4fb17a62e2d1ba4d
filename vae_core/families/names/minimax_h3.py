"""Names of MiniMax-H3's autoencoder: its authors' are the reference, but for linear layers that have names of
convolutions elsewhere. In diffusers' files queries, keys and values are apart, and the gate is the second half.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ...latents.statistics import MINIMAX_H3_MEAN, MINIMAX_H3_STD
from ..shapes import Shapes
from .layout import DIFFUSERS, ORIGINAL, Layout, Names, Weights
from .rules import both_ways

_HEAD = 64
_PARTS = ("q", "k", "v")
_LEFT_OUT = ("decoder.mask_token", "latents_mean", "latents_std")  # of diffusers' files
_PROJ = ("^decoder.proj_out.", "^decoder.pixel_proj.")
_ORIGINAL = both_ways(_PROJ, (".attn.to_qkv.", ".attn.qkv_proj."), (".attn.to_out.", ".attn.o_proj."))
_DIFFUSERS = both_ways(
    _PROJ,
    ("^decoder.proj_in.", "^decoder.x_embedder."),
    ("^encoder.down_blocks.#.resnets.#.", "^encoder.down.#.block.#."),
    ("^encoder.down_blocks.#.downsamplers.0.", "^encoder.down.#.downsample."),
    (".conv_shortcut.", ".nin_shortcut."),
    (".attn.to_q.", ".attn.q_proj."),
    (".attn.to_k.", ".attn.k_proj."),
    (".attn.to_v.", ".attn.v_proj."),
    (".attn.to_out.0.", ".attn.o_proj."),
    (".ff.net.0.proj.", ".ff.w1."),
    (".ff.net.2.", ".ff.w2."),
)


def is_original(own: Shapes) -> bool:
    layers = any(name.endswith(".attn.to_qkv.weight") or name.startswith("decoder.x_embedder.") for name in own)
    return layers or any(name.startswith("encoder.down.") for name in own)


def is_diffusers(own: Shapes) -> bool:
    layers = any(name.endswith((".attn.to_q.weight", ".ff.net.0.proj.weight")) for name in own)
    return layers or any(name.startswith("encoder.down_blocks.") for name in own)


def from_original(own: Shapes) -> Names:
    return {name: _ORIGINAL.read(name) for name in own}


def to_original(names: Iterable[str], config: Any = None) -> Names:
    return {name: _ORIGINAL.write(name) for name in names}


def from_diffusers(own: Shapes) -> Names:
    return {name: _DIFFUSERS.read(name) for name in own}


def to_diffusers(names: Iterable[str], config: Any = None) -> Names:
    return {name: _DIFFUSERS.write(name) for name in names}


def hold_fused(weights: Weights, config: Any) -> Weights:
    """As the authors have it: a tensor of queries, keys and values, the gate first, a token that nothing reads.

    Beside them the statistics of latents; of other channels than the published ones', such as change nothing.
    """
    z = config.z_channels
    known = [torch.tensor(numbers) if len(numbers) == z else None for numbers in (MINIMAX_H3_MEAN, MINIMAX_H3_STD)]
    mean, std = (t if t is not None else torch.full((z,), float(i)) for i, t in enumerate(known))
    weights = {"latents_mean": mean, "latents_std": std, **weights}
    return weights if config.fused else _fuse(weights)


def _fuse(weights: Weights) -> Weights:
    held: dict[str, Tensor] = {}
    for name, t in weights.items():
        if ".attn.q_proj." in name:
            parts = [weights[name.replace("q_proj", f"{part}_proj")].unflatten(0, (-1, _HEAD)) for part in _PARTS]
            held[name.replace("q_proj", "qkv_proj")] = torch.stack(parts, 1).flatten(0, 2)
        elif ".attn.k_proj." not in name and ".attn.v_proj." not in name:
            held[name] = _swap(t) if ".ff.w1." in name else t
    register = weights.get("decoder.register_tokens")
    return held if register is None else {**held, "decoder.mask_token": torch.zeros_like(register[:, :1])}


def hold_apart(weights: Weights, config: Any) -> Weights:
    """As diffusers has it."""
    held: dict[str, Tensor] = {}
    for name, t in weights.items():
        if ".attn.qkv_proj." in name:
            parts = t.unflatten(0, (-1, 3, _HEAD)).unbind(1)
            held |= {name.replace("qkv", part): one.flatten(0, 1) for part, one in zip(_PARTS, parts, strict=True)}
        elif name not in _LEFT_OUT:
            held[name] = _swap(t) if config.fused and ".ff.w1." in name else t
    return held


def _swap(t: Tensor) -> Tensor:
    """The second half first."""
    return torch.cat(t.chunk(2)[::-1])


MINIMAX = Layout(ORIGINAL, is_original, from_original, to_original, held=hold_fused)
MINIMAX_DIFFUSERS = Layout(DIFFUSERS, is_diffusers, from_diffusers, to_diffusers, held=hold_apart)
