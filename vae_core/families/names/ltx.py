"""Names of LTX-Video's autoencoders: Lightricks' own are the reference, diffusers has its own.

Lightricks number the blocks of a half in one row: residual blocks of one width, changes of resolution, and single
blocks to another width. In diffusers' names a level holds the residual blocks and what comes before or after them.
"""

from collections.abc import Iterable
from typing import Any

from ..shapes import Shapes, count
from .layout import DIFFUSERS, ORIGINAL, Layout, keep_names
from .rules import both_ways, move

_SIDES = (("encoder", "down"), ("decoder", "up"))
_NESTED = (
    r"^(?:encoder|decoder)\.(?:mid_block|(?:down|up)_blocks\.\d+)\.(?:(?:down|up)samplers\.0\.|conv_in\.|conv_out\.)?"
)
_FLAT = r"^(?:encoder\.down|decoder\.up)_blocks\.\d+\."
_NAMES = both_ways(
    (".resnets.", ".res_blocks."),
    (".norm3.", ".norm3.norm."),
    (".conv_shortcut.conv.", ".conv_shortcut."),
    ("^decoder.time_embedder.", "^decoder.last_time_embedder."),
    ("^decoder.scale_shift_table", "^decoder.last_scale_shift_table"),
    ("^latents_mean", "^per_channel_statistics.mean-of-means"),
    ("^latents_std", "^per_channel_statistics.std-of-means"),
)


def is_original(own: Shapes) -> bool:
    return any(".res_blocks." in name for name in own)


def is_diffusers(own: Shapes) -> bool:
    """Wrapped convolutions in residual blocks whose norms have no weights."""
    blocks = any(".resnets.0.conv1.conv." in name for name in own)
    return blocks and not any(".norm1." in name for name in own)


def from_diffusers(own: Shapes) -> dict[str, str]:
    places = {nested: flat for half, side in _SIDES for flat, nested in _pair(own, half, side)}
    return {name: _NAMES.read(move(name, _NESTED, places)) for name in own}


def _pair(own: Shapes, half: str, side: str) -> list[tuple[str, str]]:
    """The beginning of each block's names, (in one row, in levels), from the names in levels."""
    before, after, levels = f"{side}samplers.0.", "conv_out.", f"{half}.{side}_blocks."
    order = ("", before, after) if half == "encoder" else ("conv_in.", before, "")
    nested = [
        f"{levels}{i}.{part}"
        for i in range(count(own, levels))
        for part in order
        if not part or any(name.startswith(f"{levels}{i}.{part}") for name in own)
    ]
    middle = f"{half}.mid_block."
    nested = [*nested, middle] if half == "encoder" else [middle, *nested]
    return [(f"{levels}{i}.", place) for i, place in enumerate(nested)]


def to_diffusers(names: Iterable[str], config: Any = None) -> dict[str, str]:
    names = list(names)
    places = {flat: nested for half, side in _SIDES for flat, nested in _nest(names, half, side)}
    return {name: _NAMES.write(move(name, _FLAT, places)) for name in names}


def _nest(names: list[str], half: str, side: str) -> list[tuple[str, str]]:
    """The beginning of each block's names, (in one row, in levels), from the names in one row."""
    levels = f"{half}.{side}_blocks."
    blocks = count({name: () for name in names}, levels)
    middle, level, widening = (blocks - 1, -1, "conv_out.") if half == "encoder" else (0, 0, "conv_in.")
    pairs: list[tuple[str, str]] = []
    for i in range(blocks):
        flat = f"{levels}{i}."
        is_stage = any(name.startswith(f"{flat}res_blocks.") for name in names)
        widens = any(name.startswith(f"{flat}conv1.") for name in names)
        level += is_stage and half == "encoder"
        part = "" if is_stage else widening if widens else f"{side}samplers.0."
        pairs.append((flat, f"{half}.mid_block." if i == middle else f"{levels}{level}.{part}"))
        level += is_stage and half == "decoder" and i != middle
    return pairs


LTX = Layout(ORIGINAL, is_original, keep_names, keep_names)
LTX_DIFFUSERS = Layout(DIFFUSERS, is_diffusers, from_diffusers, to_diffusers)
