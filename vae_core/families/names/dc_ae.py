"""Names of DC-AE: those of diffusers are the reference, its authors (EfficientViT, DC-Gen) have their own.

They also hold the queries, keys and values of attention as one tensor, diffusers as three.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..blocks.base import Shapes
from ..dc_ae import DCAEConfig
from .rules import both_ways, renamed, rules


def from_original(own: Shapes) -> dict[str, str]:
    return {name: _EFFICIENTVIT.read(renamed(name, _WRAPPED)) for name in own}


def to_original(names: Iterable[str], config: DCAEConfig) -> dict[str, str]:
    """Wrappers of layers have no numbers of their own; which there are follows from what the network is."""
    wrap = rules(
        *((r"^(encoder\.project_out\.|decoder\.project_in\.)", r"\1main."),) * config.latent_shortcuts,
        *((r"^(encoder\.stages\.\d+\.op_list\.\d+\.main\.)(?=conv\.)", r"\1conv."),)
        * bool(config.encoder and config.encoder.shuffled),
        (r"^(decoder\.stages\.\d+\.op_list\.\d+\.main\.)(?=conv\.)", r"\1conv."),
    )
    return {name: renamed(_EFFICIENTVIT.write(name), wrap) for name in names}


def joined(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values as one tensor."""
    whole = {name for name in weights if ".attn.to_q." in name}
    three = {name.replace(".to_q.", new) for name in whole for new in (".to_q.", ".to_k.", ".to_v.")}
    made = {
        name.replace(".to_q.", ".qkv."): torch.cat([weights[name.replace(".to_q.", f".to_{x}.")] for x in "qkv"])
        for name in whole
    }
    return {**{name: t for name, t in weights.items() if name not in three}, **made}


def split(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values as three tensors."""
    parted: dict[str, Tensor] = {}
    for name, t in weights.items():
        if ".attn.qkv." in name:
            parted |= {name.replace(".qkv.", f".to_{x}."): third for x, third in zip("qkv", t.chunk(3), strict=True)}
        else:
            parted[name] = t
    return parted


_WRAPPED = rules(  # layers that have a shortcut around them, and convolutions that move pixels into channels and back
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
