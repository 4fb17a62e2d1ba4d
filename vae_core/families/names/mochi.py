"""Names of Mochi's autoencoder: diffusers' are the reference; Genmo number layers and blocks in rows, queries, keys and
values are one tensor there.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..shapes import Shapes, count
from .layout import DIFFUSERS, ORIGINAL, Layout, Names, Weights, half, keep_names

_PARTS = (  # of one residual block and the attention after it
    ("stack.0.", "resnets.{}.norm1.norm_layer."),
    ("stack.2.", "resnets.{}.conv1.conv."),
    ("stack.3.", "resnets.{}.norm2.norm_layer."),
    ("stack.5.", "resnets.{}.conv2.conv."),
    ("attn_block.norm.", "norms.{}.norm_layer."),
    ("attn_block.attn.qkv.", "attentions.{}.to_qkv."),
    ("attn_block.attn.out.", "attentions.{}.to_out.0."),
)
_LINEAR = re.compile(r"(?:\.proj(?:_in|_out)?|\.to_(?:q|k|v|qkv|out\.0))\.weight$")


def is_original(own: Shapes) -> bool:
    return any(".stack.5." in name and name.startswith(("encoder.layers.", "decoder.blocks.")) for name in own)


def is_diffusers(own: Shapes) -> bool:
    return any(name.startswith(("encoder.block_in.resnets.", "decoder.block_in.resnets.")) for name in own)


def from_original(own: Shapes) -> Names:
    pairs = dict((*_pair_encoder(_count_encoder(own)), *_pair_decoder(_count_decoder(own))))
    return _rename(own, pairs)


def to_original(names: Iterable[str], config: Any) -> Names:
    encoder, decoder = (coder.blocks if coder else () for coder in (config.encoder, config.decoder))
    pairs = {new: old for old, new in (*_pair_encoder(encoder), *_pair_decoder(decoder))}
    return _rename(names, pairs)


def _rename(names: Iterable[str], pairs: Names) -> Names:
    parts = ((name, name.rpartition(".")) for name in names)
    return {name: pairs.get(head + dot, head + dot) + last for name, (head, dot, last) in parts}


def _count_encoder(own: Shapes) -> tuple[int, ...]:
    """Residual blocks before all levels, of each level, and after them."""
    rows = [count(own, f"encoder.layers.{i}.layers.") for i in range(1, count(own, "encoder.layers."))]
    levels = [n - 1 for n in rows if n]
    first = next((i for i, n in enumerate(rows) if n), len(rows))
    return (first, *levels, len(rows) - first - len(levels)) if rows else ()


def _count_decoder(own: Shapes) -> tuple[int, ...]:
    rows = count(own, "decoder.blocks.")
    if rows < 2:
        return ()
    levels = (count(own, f"decoder.blocks.{i}.blocks.") for i in range(1, rows - 1))
    return (count(own, "decoder.blocks.0.") - 1, *levels, count(own, f"decoder.blocks.{rows - 1}."))


def _pair_encoder(blocks: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """What names begin with: (Genmo's, the reference's)."""
    if not blocks:
        return
    row, (first, *levels, last) = "encoder.layers.", blocks
    yield f"{row}0.", "encoder.proj_in."
    for j in range(first):
        yield from _pair_parts(f"{row}{1 + j}.", "encoder.block_in.", j)
    for k, n in enumerate(levels):
        level, new = f"{row}{1 + first + k}.layers.", f"encoder.down_blocks.{k}."
        yield f"{level}0.", f"{new}conv_in.conv."
        for j in range(n):
            yield from _pair_parts(f"{level}{1 + j}.", new, j)
    for j in range(last):
        yield from _pair_parts(f"{row}{1 + first + len(levels) + j}.", "encoder.block_out.", j)
    yield "encoder.output_norm.", "encoder.norm_out.norm_layer."
    yield "encoder.output_proj.", "encoder.proj_out."


def _pair_decoder(blocks: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    if not blocks:
        return
    row, (first, *levels, last) = "decoder.blocks.", blocks
    yield f"{row}0.0.", "decoder.conv_in."
    for j in range(first):
        yield from _pair_parts(f"{row}0.{1 + j}.", "decoder.block_in.", j)
    for k, n in enumerate(levels):
        new = f"decoder.up_blocks.{k}."
        yield f"{row}{1 + k}.proj.", f"{new}proj."
        for j in range(n):
            yield from _pair_parts(f"{row}{1 + k}.blocks.{j}.", new, j)
    for j in range(last):
        yield from _pair_parts(f"{row}{1 + len(levels)}.{j}.", "decoder.block_out.", j)
    yield "decoder.output_proj.", "decoder.proj_out."


def _pair_parts(old: str, new: str, j: int) -> Iterator[tuple[str, str]]:
    for part, name in _PARTS:
        yield old + part, new + name.format(j)


def hold_joined(weights: Weights, config: Any) -> Weights:
    """Queries, keys and values in one; linear layers in two dimensions."""
    held: dict[str, Tensor] = {}
    for name, t in weights.items():
        if name.endswith(".to_q.weight"):
            parts = [weights[name.replace(".to_q.", f".to_{one}.")] for one in "qkv"]
            held[name.replace(".to_q.", ".to_qkv.")] = _flat("", torch.cat(parts))
        elif not name.endswith((".to_k.weight", ".to_v.weight")):
            held[name] = _flat(name, t)
    return held


def hold_apart(weights: Weights, config: Any) -> Weights:
    """Queries, keys and values each alone; linear layers in two dimensions."""
    held: dict[str, Tensor] = {}
    for name, t in weights.items():
        if name.endswith(".to_qkv.weight"):
            parts = zip("qkv", t.chunk(3), strict=True)
            held |= {name.replace(".to_qkv.", f".to_{one}."): _flat("", part) for one, part in parts}
        else:
            held[name] = _flat(name, t)
    return held


def _flat(name: str, t: Tensor) -> Tensor:
    """(c_out, c_in, 1, 1) -> (c_out, c_in) of a linear layer; '' is one."""
    return t.flatten(1) if not name or _LINEAR.search(name) else t


def _is_bare_encoder(own: Shapes) -> bool:
    return any(name.startswith("layers.") and ".stack.5." in name for name in own)


def _is_bare_decoder(own: Shapes) -> bool:
    return any(name.startswith("blocks.") and ".stack.5." in name for name in own)


MOCHI = Layout(ORIGINAL, is_original, from_original, to_original, hold_joined)
MOCHI_DIFFUSERS = Layout(DIFFUSERS, is_diffusers, keep_names, keep_names, hold_apart)
HALVES = (half("encoder", MOCHI, _is_bare_encoder), half("decoder", MOCHI, _is_bare_decoder))
