"""diffusers' names of the networks that descend from latent diffusion, to the reference names and back.

diffusers counts levels in three ways:

    TURNED      up_blocks from the lowest resolution, where the reference counts from the highest: Autoencoder-KL and
                its kin. Attention is held as linear layers
    STRAIGHT    both count from the lowest resolution: HunyuanVideo 1.5
    ROW         blocks and resampling numbered in one row, in the order they run: HunyuanImage
"""

import re
from collections.abc import Iterable
from typing import Any

from ..shapes import Shapes, count
from .layout import DIFFUSERS, Layout, Names, begins, half
from .ldm import from_ldm, has_one
from .rules import both_ways, move, rename


def from_turned(own: Shapes) -> Names:
    bare = from_ldm(own)
    turned = turn(bare.values(), "decoder.up_blocks.", "decoder.up.")
    return {name: _KL.read(_OLDER.read(turned[bare[name]])) for name in own}


def to_turned(names: Iterable[str], config: Any = None) -> Names:
    turned = turn(names := list(names), "decoder.up.", "decoder.up_blocks.")
    return {name: _KL.write(turned[name]) for name in names}


def to_turned_in_time(names: Iterable[str], config: Any = None) -> Names:
    """SVD: layers of single frames and those over frames lie beside each other in each block of the decoder."""
    marked = {name: rename(name, _OF_SINGLE_FRAMES) for name in names}
    written = to_turned(marked.values())
    return {name: written[new] for name, new in marked.items()}


def from_straight(own: Shapes) -> Names:
    return {name: _STRAIGHT.read(name) for name in own}


def to_straight(names: Iterable[str], config: Any = None) -> Names:
    return {name: _STRAIGHT.write(name) for name in names}


def from_row(own: Shapes) -> Names:
    """What follows a resampling is the next level."""
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
    return {name: _ROW.read(move(name, _IN_ROW, places)) for name in own}


def to_row(names: Iterable[str], config: Any = None) -> Names:
    names, places = list(names), dict[str, str]()
    for row, side, _ in _ROWS:
        steps = {match[0] for name in names if (match := re.match(_IN_LEVELS, name)) and name.startswith(side)}
        places |= {step: f"{row}{i}." for i, step in enumerate(sorted(steps, key=_order))}
    return {name: _ROW.write(move(name, _IN_LEVELS, places)) for name in names}


def is_turned(own: Shapes) -> bool:
    return _has_blocks(own) and not is_row(own) and not is_straight(own)


def is_straight(own: Shapes) -> bool:
    """RMS norms, and convolutions wrapped for causality."""
    wrapped = any(name.endswith(".norm1.gamma") for name in own) and any(
        name.endswith(".conv1.conv.bias") for name in own
    )
    return wrapped and _has_blocks(own) and not is_row(own)


def is_row(own: Shapes) -> bool:
    """Norms and convolutions come right after the number: there are no levels between."""
    return any(re.match(r"(?:encoder\.down|decoder\.up)_blocks\.\d+\.(?:norm|conv)\d\.", name) for name in own)


def is_older(own: Shapes) -> bool:
    """Until diffusers 0.17 the linear layers of attention had other names."""
    return any(".query." in name or ".proj_attn." in name for name in own)


def _is_turned_now(own: Shapes) -> bool:
    return is_turned(own) and not is_older(own)


def _is_turned_older(own: Shapes) -> bool:
    return is_turned(own) and is_older(own)


def turn(names: Iterable[str], old: str, new: str) -> Names:
    """Levels that are counted from one end, counted from the other."""
    names = list(names)
    top = count(dict.fromkeys(names, ()), old) - 1

    def rename_one(name: str) -> str:
        level, dot, rest = name.removeprefix(old).partition(".")
        return f"{new}{top - int(level)}.{rest}" if dot and level.isdecimal() else name

    return {name: rename_one(name) if name.startswith(old) else name for name in names}


def _order(step: str) -> tuple[int, bool, int]:
    """'decoder.up.1.block.2.': level 1, no resampling, block 2. A resampling follows the blocks of its level."""
    _, _, level, what, *block = step.split(".")
    return int(level), what != "block", int(block[0]) if what == "block" else 0


_ROWS = (("encoder.down_blocks.", "encoder.down.", "downsample."), ("decoder.up_blocks.", "decoder.up.", "upsample."))
_IN_ROW = r"^(?:encoder\.down|decoder\.up)_blocks\.\d+\."
_IN_LEVELS = r"^(?:encoder\.down|decoder\.up)\.\d+\.(?:block\.\d+|downsample|upsample)\."
_has_blocks = begins("encoder.down_blocks.", "decoder.up_blocks.")

_OF_SINGLE_FRAMES = ((r"^(decoder\..*\.block[._]\d+\.)(?=norm|conv|nin_shortcut)", r"\1spatial_res_block."),)
_OLDER = both_ways(  # only read
    (".query.", ".to_q."),
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
    (".spatial_res_block.", "."),
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

TURNED = Layout(DIFFUSERS, _is_turned_now, from_turned, to_turned, attention=2)
TURNED_OLDER = Layout("diffusers-legacy", _is_turned_older, from_turned)
TURNED_IN_TIME = TURNED._replace(write=to_turned_in_time)
TURNED_HALVES = (
    half("encoder", TURNED, has_one("down_blocks", "up_blocks")),  # a U-Net has both
    half("decoder", TURNED, has_one("up_blocks", "down_blocks")),
)
STRAIGHT = Layout(DIFFUSERS, is_straight, from_straight, to_straight, attention=5)
ROW = Layout(DIFFUSERS, is_row, from_row, to_row)
