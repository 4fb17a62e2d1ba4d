"""Names of DC-AE: those of diffusers are the reference, its authors (EfficientViT, DC-Gen) have their own.

They also hold the queries, keys and values of attention as one tensor, diffusers as three.
"""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..shapes import Shapes
from .layout import DIFFUSERS, ORIGINAL, Layout, Names, Weights, begins, first_parts, half, keep_names
from .ldm import has_one
from .rules import both_ways, rename


def from_original(own: Shapes) -> Names:
    return {name: _EFFICIENTVIT.read(rename(name, _WRAPPED)) for name in own}


def to_original(names: Iterable[str], config: Any) -> Names:
    """Wrappers of layers have no numbers of their own; which there are follows from the config, a DCAEConfig."""
    wrap = [(r"^(decoder\.stages\.\d+\.op_list\.\d+\.main\.)(?=conv\.)", r"\1conv.")]
    if config.encoder and config.encoder.shuffled:
        wrap.append((r"^(encoder\.stages\.\d+\.op_list\.\d+\.main\.)(?=conv\.)", r"\1conv."))
    if config.latent_shortcuts:
        wrap.append((r"^(encoder\.project_out\.|decoder\.project_in\.)", r"\1main."))
    return {name: rename(_EFFICIENTVIT.write(name), tuple(wrap)) for name in names}


def join_qkv(weights: Weights, config: Any) -> Weights:
    """Queries, keys and values of each attention as one tensor, after all others."""
    queries = {name for name in weights if ".attn.to_q." in name}
    three = {name.replace(".to_q.", new) for name in queries for new in (".to_q.", ".to_k.", ".to_v.")}
    joined = {
        name.replace(".to_q.", ".qkv."): torch.cat([weights[name.replace(".to_q.", f".to_{x}.")] for x in "qkv"])
        for name in queries
    }
    return {**{name: t for name, t in weights.items() if name not in three}, **joined}


def split_qkv(weights: Weights, config: Any) -> Weights:
    """Queries, keys and values of each attention as three tensors."""
    parts: dict[str, Tensor] = {}
    for name, t in weights.items():
        if ".attn.qkv." in name:
            parts |= {name.replace(".qkv.", f".to_{x}."): third for x, third in zip("qkv", t.chunk(3), strict=True)}
        else:
            parts[name] = t
    return parts


def is_numbered_twice(own: Shapes) -> bool:
    """diffusers numbers blocks within levels."""
    return any(re.match(r"(?:encoder\.down|decoder\.up)_blocks\.\d+\.\d+\.", name) for name in own)


def _is_bare_original(own: Shapes) -> bool:
    """The two halves' names are alike: the one that fits better counts."""
    return {"stages", "project_in"} <= first_parts(own)


_WRAPPED = (  # layers that have a shortcut around them, and convolutions that move pixels into channels and back
    (r"^((?:en|de)coder\.project_(?:in|out)\.)main\.", r"\1"),
    (r"(\.op_list\.\d+\.main\.conv)\.conv\.", r"\1."),
)
_EFFICIENTVIT = both_ways(
    ("^encoder.project_in.conv.", "^encoder.conv_in."),
    ("^encoder.project_out.op_list.0.conv.", "^encoder.conv_out."),
    ("^decoder.project_in.conv.", "^decoder.conv_in."),
    ("^decoder.project_out.op_list.0.", "^decoder.norm_out."),
    ("^decoder.project_out.op_list.2.conv.", "^decoder.conv_out."),
    ("^encoder.stages.#.op_list.#.", "^encoder.down_blocks.#.#."),
    ("^decoder.stages.#.op_list.#.", "^decoder.up_blocks.#.#."),
    ("_blocks.#.#.main.conv.", "_blocks.#.#.conv."),
    ("_blocks.#.#.main.conv1.conv.", "_blocks.#.#.conv1."),
    ("_blocks.#.#.main.conv2.conv.", "_blocks.#.#.conv2."),
    ("_blocks.#.#.main.conv2.norm.", "_blocks.#.#.norm."),
    (".context_module.main.qkv.conv.", ".attn.qkv."),
    (".context_module.main.aggreg.#.0.", ".attn.to_qkv_multiscale.#.proj_in."),
    (".context_module.main.aggreg.#.1.", ".attn.to_qkv_multiscale.#.proj_out."),
    (".context_module.main.proj.conv.", ".attn.to_out."),
    (".context_module.main.proj.norm.", ".attn.norm_out."),
    (".local_module.main.inverted_conv.conv.", ".conv_out.conv_inverted."),
    (".local_module.main.depth_conv.conv.", ".conv_out.conv_depth."),
    (".local_module.main.point_conv.conv.", ".conv_out.conv_point."),
    (".local_module.main.point_conv.norm.", ".conv_out.norm."),
)

EFFICIENTVIT = Layout(ORIGINAL, begins("encoder.stages.", "decoder.stages."), from_original, to_original, held=join_qkv)
DC_AE_DIFFUSERS = Layout(DIFFUSERS, is_numbered_twice, write=keep_names, held=split_qkv, attention=2)
HALVES = (
    half("encoder", DC_AE_DIFFUSERS, has_one("down_blocks", "up_blocks")),
    half("decoder", DC_AE_DIFFUSERS, has_one("up_blocks", "down_blocks")),
    half("encoder", EFFICIENTVIT, _is_bare_original),
    half("decoder", EFFICIENTVIT, _is_bare_original),
)
