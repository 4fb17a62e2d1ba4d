"""Names of the consistency decoder: its authors' blocks by level are the reference, with the encoder in names of LDM.

Its authors' file is the U-Net alone, its names bare. diffusers' class holds SD's encoder too.
"""

import re
from collections.abc import Iterable
from typing import Any

from ..shapes import Shapes, count
from .diffusers import from_turned, to_turned
from .layout import DIFFUSERS, ORIGINAL, Layout, Names, begins
from .ldm import from_ldm
from .rules import both_ways

_ENCODER = ("encoder.", "quant_conv.")
_UNET = "decoder_unet."


def from_original(own: Shapes) -> Names:
    """What changes the resolution is the last block of a level: of all but the lowest down, and but the highest up."""
    bare = {name: name.removeprefix("decoder.") for name in own if not name.startswith(_ENCODER)}
    levels = {name: own[long] for long, name in bare.items()}
    last = {"down": count(levels, "down.") - 1, "up": 0}

    def place(match: re.Match[str]) -> str:
        side, level, block = match[1], int(match[2]), int(match[3])
        changes = level != last[side] and block == count(levels, f"{side}.{level}.") - 1
        return f"{side}.{level}.change." if changes else f"{side}.{level}.block.{block}."

    decoder = {long: "decoder." + re.sub(r"^(down|up)\.(\d+)\.(\d+)\.", place, name) for long, name in bare.items()}
    return decoder | from_ldm({name: shape for name, shape in own.items() if name not in bare})


def to_original(names: Iterable[str], config: Any = None) -> Names:
    blocks = config.decoder.blocks if config and config.decoder else 0
    after = {"down": blocks, "up": blocks + 1}
    made = {name: name.removeprefix("decoder.") for name in names}
    for name, own in made.items():
        own = re.sub(r"^(down|up)\.(\d+)\.block\.", r"\1.\2.", own)
        made[name] = re.sub(r"^(down|up)\.(\d+)\.change\.", lambda m: f"{m[1]}.{m[2]}.{after[m[1]]}.", own)
    return made


def from_diffusers(own: Shapes) -> Names:
    """diffusers counts the levels of the way up in the order they run."""
    encoder = from_turned({name: shape for name, shape in own.items() if name.startswith(_ENCODER)})
    levels = count(own, f"{_UNET}up_blocks.")
    return {name: encoder.get(name) or _turn(_DIFFUSERS.read(name), levels) for name in own}


def to_diffusers(names: Iterable[str], config: Any = None) -> Names:
    levels = len(config.decoder.widths) if config and config.decoder else 0
    names = list(names)
    encoder = to_turned(name for name in names if name.startswith(_ENCODER))
    return {name: encoder.get(name) or _DIFFUSERS.write(_turn(name, levels)) for name in names}


def _turn(name: str, levels: int) -> str:
    return re.sub(r"^decoder\.up\.(\d+)\.", lambda m: f"decoder.up.{levels - 1 - int(m[1])}.", name)


_DIFFUSERS = both_ways(
    (f"^{_UNET}conv_in.", "^decoder.embed_image.f."),
    (f"^{_UNET}time_proj.", "^decoder.embed_time.emb."),
    (f"^{_UNET}down_blocks.#.resnets.#.", "^decoder.down.#.block.#."),
    (f"^{_UNET}down_blocks.#.downsamplers.0.", "^decoder.down.#.change."),
    (f"^{_UNET}up_blocks.#.resnets.#.", "^decoder.up.#.block.#."),
    (f"^{_UNET}up_blocks.#.upsamplers.0.", "^decoder.up.#.change."),
    (f"^{_UNET}mid_block.resnets.#.", "^decoder.mid.#."),
    (f"^{_UNET}conv_norm_out.", "^decoder.output.gn."),
    (f"^{_UNET}conv_out.", "^decoder.output.f."),
    (".norm1.", ".gn_1."),
    (".conv1.", ".f_1."),
    (".time_emb_proj.", ".f_t."),
    (".norm2.", ".gn_2."),
    (".conv2.", ".f_2."),
    (".conv_shortcut.", ".f_s."),
    (f"^{_UNET}time_embedding.linear_#.", "^decoder.embed_time.f_#."),  # before others when it is written
)

ORIGINAL_NAMES = Layout(ORIGINAL, begins("embed_image.", "decoder.embed_image."), from_original, to_original)
DIFFUSERS_NAMES = Layout(DIFFUSERS, begins(_UNET), from_diffusers, to_diffusers, attention=2)
