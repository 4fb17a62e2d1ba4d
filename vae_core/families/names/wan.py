"""Names of Wan's autoencoders: those of its authors are the reference, diffusers has its own."""

import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from ..shapes import Shapes, count
from .layout import DIFFUSERS, ORIGINAL, Layout, Weights, begins, keep_names
from .rules import both_ways, move


def is_diffusers(own: Shapes) -> bool:
    """Residual blocks with RMS norms, convolutions bare (Hunyuan's are wrapped: `conv1.conv.weight`)."""
    norms = any(name.endswith(".mid_block.resnets.0.norm1.gamma") for name in own)
    return norms and not any(name.endswith(".conv1.conv.weight") for name in own)


def from_diffusers(own: Shapes) -> dict[str, str]:
    """Wan 2.1 numbers blocks and changes of resolution of a half in one row, Wan 2.2 within levels."""
    nested = any(".downsampler." in name or ".upsampler." in name for name in own)
    places = _places_in_levels(own) if nested else _places_in_a_row(own)
    return {name: _NAMES.read(move(name, _PLACE, places)) for name in own}


def to_diffusers(names: Iterable[str], config: Any = None) -> dict[str, str]:
    names = list(names)
    blocks = {match[0] for name in names if (match := re.match(_BLOCK, name))}
    places: dict[str, str] = {}
    level = number = 0
    for block in sorted(blocks, key=_numbers):
        half, side, i, *nested = re.match(_BLOCK, block).groups()  # type: ignore[union-attr]
        resamples = any(name.startswith((f"{block}resample.", f"{block}time_conv.")) for name in names)
        if nested != [None]:
            places[block] = f"{half}.{side}_blocks.{i}." + (f"{side}sampler." if resamples else f"resnets.{nested[0]}.")
        elif half == "encoder":
            places[block] = f"encoder.down_blocks.{i}."
        elif resamples:
            places[block], level, number = f"decoder.up_blocks.{level}.upsamplers.0.", level + 1, 0
        else:
            places[block], number = f"decoder.up_blocks.{level}.resnets.{number}.", number + 1
    return {name: _NAMES.write(move(name, _BLOCK, places)) for name in names}


def drop_single_taps(weights: Weights, config: Any) -> Weights:
    """diffusers holds no convolutions over frames if none sees another frame (Qwen-Image-2.1)."""
    taps = {t.shape[2] for t in weights.values() if t.ndim == 5}
    return {name: _drop_time(t) for name, t in weights.items()} if taps == {1} else weights


def _drop_time(t: Tensor) -> Tensor:
    """(c_out, c_in, 1, h, w) -> (c_out, c_in, h, w); other tensors as they are."""
    return t[:, :, 0] if t.ndim == 5 else t


def _numbers(block: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", block)]


_BLOCK = r"^(encoder|decoder)\.(down|up)samples\.(\d+)\.(?:(?:down|up)samples\.(\d+)\.)?"
_PLACE = (
    r"^(?:encoder\.down|decoder\.up)_blocks\.\d+\."
    r"(?:resnets\.\d+\.|(?:down|up)samplers?\.(?:0\.)?(?=resample|time_conv))?"
)


def _places_in_levels(own: Shapes) -> dict[str, str]:
    places: dict[str, str] = {}
    for half, side in (("encoder", "down"), ("decoder", "up")):
        for i in range(count(own, f"{half}.{side}_blocks.")):
            level, new = f"{half}.{side}_blocks.{i}.", f"{half}.{side}samples.{i}.{side}samples."
            blocks = count(own, f"{level}resnets.")
            places |= {f"{level}resnets.{j}.": f"{new}{j}." for j in range(blocks)}
            places[f"{level}{side}sampler."] = f"{new}{blocks}."
    return places


def _places_in_a_row(own: Shapes) -> dict[str, str]:
    """The encoder's are in a row already."""
    places = {
        f"encoder.down_blocks.{i}.": f"encoder.downsamples.{i}." for i in range(count(own, "encoder.down_blocks."))
    }
    n = 0
    for i in range(count(own, "decoder.up_blocks.")):
        level = f"decoder.up_blocks.{i}."
        for j in range(count(own, f"{level}resnets.")):
            places[f"{level}resnets.{j}."], n = f"decoder.upsamples.{n}.", n + 1
        if any(name.startswith(f"{level}upsamplers.0.") for name in own):
            places[f"{level}upsamplers.0."], n = f"decoder.upsamples.{n}.", n + 1
    return places


_NAMES = both_ways(
    (".mid_block.resnets.0.", ".middle.0."),
    (".mid_block.attentions.0.", ".middle.1."),
    (".mid_block.resnets.1.", ".middle.2."),
    (".norm1.", ".residual.0."),
    (".norm2.", ".residual.3."),
    (".conv1.", ".residual.2."),
    (".conv2.", ".residual.6."),
    (".conv_shortcut.", ".shortcut."),
    (".norm_out.", ".head.0."),
    (".conv_out.", ".head.2."),
    (".conv_in.", ".conv1."),
    ("^quant_conv.", "^conv1."),
    ("^post_quant_conv.", "^conv2."),
)


_OF_FRAMES = r"(?:\.residual\.[26]|\.shortcut|\.head\.2|^(?:encoder\.|decoder\.)?conv[12]|\.time_conv)\.weight$"


def over_frames(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a convolution over frames; files for images leave out the one tap in time it has."""
    return (*shape[:2], 1, *shape[2:]) if len(shape) == 4 and re.search(_OF_FRAMES, name) else shape


def from_original(own: Shapes) -> dict[str, str]:
    """Some files (JoyAI-Image's) name the convolutions around the latent as diffusers does."""
    return {name: re.sub("^quant_conv", "conv1", re.sub("^post_quant_conv", "conv2", name)) for name in own}


WAN = Layout(ORIGINAL, begins("encoder.downsamples.", "decoder.upsamples."), from_original, keep_names)
WAN_DIFFUSERS = Layout(DIFFUSERS, is_diffusers, from_diffusers, to_diffusers, drop_single_taps)
