"""diffusers' names of the networks that descend from latent diffusion, to the reference names and back.

Each pair of functions is one way of counting: `from_...` is given a file's names and shapes, `to_...` reference names.
"""

import re
from collections.abc import Iterable

from ..blocks.base import Shapes, count
from .rules import both_ways, moved, renamed, rules

Names = dict[str, str]


def from_turned(own: Shapes) -> Names:
    """Autoencoder-KL and its kin: diffusers counts up_blocks from the lowest resolution, the reference does not."""
    turned = _turned(own, "decoder.up_blocks.", "decoder.up.")
    return {name: _KL.read(renamed(turned[name], _OLDER)) for name in own}


def to_turned(names: Iterable[str]) -> Names:
    turned = _turned(names := list(names), "decoder.up.", "decoder.up_blocks.")
    return {name: _KL.write(turned[name]) for name in names}


def to_turned_in_time(names: Iterable[str]) -> Names:
    """SVD: layers of single frames and those over frames lie beside each other in each block of the decoder."""
    names = {name: renamed(name, _OF_SINGLE_FRAMES) for name in names}
    written = to_turned(names.values())
    return {name: written[new] for name, new in names.items()}


def from_straight(own: Shapes) -> Names:
    """HunyuanVideo 1.5: the reference too counts from the lowest resolution."""
    return {name: _STRAIGHT.read(name) for name in own}


def to_straight(names: Iterable[str]) -> Names:
    return {name: _STRAIGHT.write(name) for name in names}


def from_row(own: Shapes) -> Names:
    """HunyuanImage: blocks and resampling numbered in one row; what follows a resampling is the next level."""
    places: Names = {}
    for row, side, resampling in _ROWS:
        level = block = 0
        for i in range(count(own, row)):
            if f"{row}{i}.conv.weight" in own or f"{row}{i}.conv.bias" in own:
                places[f"{row}{i}."] = f"{side}{level}.{resampling}"
                level, block = level + 1, 0
            else:
                places[f"{row}{i}."] = f"{side}{level}.block.{block}."
                block += 1
    return {name: _ROW.read(moved(name, _IN_ROW, places)) for name in own}


def to_row(names: Iterable[str]) -> Names:
    names, places = list(names), dict[str, str]()
    for row, side, _ in _ROWS:
        steps = {match[0] for name in names if (match := _IN_LEVELS.match(name)) and name.startswith(side)}
        places |= {step: f"{row}{i}." for i, step in enumerate(sorted(steps, key=_order))}
    return {name: _ROW.write(moved(name, _IN_LEVELS, places)) for name in names}


def is_hunyuan_3d(own: Shapes) -> bool:
    """RMS norms, and convolutions wrapped for causality."""
    return any(name.endswith(".norm1.gamma") for name in own) and any(name.endswith(".conv1.conv.bias") for name in own)


def is_row(own: Shapes) -> bool:
    return any(re.match(r"(?:encoder\.down|decoder\.up)_blocks\.\d+\.(?:norm|conv)\d\.", name) for name in own)


def _turned(names: Iterable[str], old: str, new: str) -> Names:
    """Levels that are counted from one end, counted from the other."""
    names = list(names)
    top, numbered = count(dict.fromkeys(names, ()), old) - 1, re.compile(re.escape(old) + r"(\d+)\.")
    return {name: numbered.sub(lambda match: f"{new}{top - int(match[1])}.", name, count=1)
            if name.startswith(old) else name for name in names}  # fmt: skip


def _order(step: str) -> tuple[int, bool, int]:
    """'decoder.up.1.block.2.': level 1, no resampling, block 2. A resampling follows the blocks of its level."""
    _, _, level, what, *block = step.split(".")
    return int(level), what != "block", int(block[0]) if what == "block" else 0


_ROWS = (("encoder.down_blocks.", "encoder.down.", "downsample."), ("decoder.up_blocks.", "decoder.up.", "upsample."))
_IN_ROW = re.compile(r"^(?:encoder\.down|decoder\.up)_blocks\.\d+\.")
_IN_LEVELS = re.compile(r"^(?:encoder\.down|decoder\.up)\.\d+\.(?:block\.\d+|downsample|upsample)\.")

_OF_SINGLE_FRAMES = rules(
    (r"^(decoder\..*\.block[._]\d+\.)(?=norm|conv|nin_shortcut)", r"\1spatial_res_block."),
)
_OLDER = rules(  # only read; the linear layers of attention were called otherwise until diffusers 0.17
    (r"\.query\.", ".to_q."),
    (r"\.key\.", ".to_k."),
    (r"\.value\.", ".to_v."),
    (r"\.proj_attn\.", ".to_out.0."),
    (r"\.spatial_res_block\.", "."),
)
_COMMON = (
    ("^encoder.down_blocks.#.", "^encoder.down.#."),
    (".mid_block.resnets.0.", ".mid.block_1."),
    (".mid_block.resnets.1.", ".mid.block_2."),
    (".mid_block.attentions.0.", ".mid.attn_1."),
    (".resnets.#.", ".block.#."),
    (".attentions.#.", ".attn.#."),
    (".downsamplers.0.conv.", ".downsample.conv."),
    (".upsamplers.0.conv.", ".upsample.conv."),
    (".conv_shortcut.", ".nin_shortcut."),
    (".to_q.", ".q."),
    (".to_k.", ".k."),
    (".to_v.", ".v."),
)
_KL = both_ways(
    *_COMMON,
    ("^decoder.condition_encoder.", "^decoder.encoder."),
    (".temporal_res_block.norm1.", ".time_stack.in_layers.0."),
    (".temporal_res_block.conv1.", ".time_stack.in_layers.2."),
    (".temporal_res_block.norm2.", ".time_stack.out_layers.0."),
    (".temporal_res_block.conv2.", ".time_stack.out_layers.3."),
    (".time_mixer.mix_factor", ".mix_factor"),
    ("^decoder.time_conv_out.", "^decoder.conv_out.time_mix_conv."),
    (".conv_norm_out.", ".norm_out."),
    (".group_norm.", ".norm."),  # to write it comes after those of a spatial norm, which begin alike
    (".spatial_norm.norm_layer.", ".norm.norm_layer."),
    (".spatial_norm.conv_y.", ".norm.conv_y."),
    (".spatial_norm.conv_b.", ".norm.conv_b."),
    (".to_out.0.", ".proj_out."),
)
_STRAIGHT = both_ways(*_COMMON, ("^decoder.up_blocks.#.", "^decoder.up.#."))
_ROW = both_ways(*_COMMON, (".proj.", ".proj_out."))
