"""Names of Wan's autoencoders: those of its authors are the reference, diffusers has its own."""

import re

from .families.base import Shapes, count
from .renaming import renamed, rules


def is_diffusers(own: Shapes) -> bool:
    """Residual blocks with RMS norms, convolutions bare (Hunyuan's are wrapped: `conv1.conv.weight`)."""
    norms = any(name.endswith(".mid_block.resnets.0.norm1.gamma") for name in own)
    return norms and not any(name.endswith(".conv1.conv.weight") for name in own)


def from_diffusers(own: Shapes) -> dict[str, str]:
    """Wan 2.1 numbers blocks and changes of resolution of a half in one row, Wan 2.2 within levels."""
    nested = any(".downsampler." in name or ".upsampler." in name for name in own)
    places = _places_in_levels(own) if nested else _places_in_a_row(own)

    def place(match: re.Match[str]) -> str:
        return places.get(match[0], match[0])

    return {name: renamed(_PLACE.sub(place, name, count=1), _NAMES) for name in own}


_PLACE = re.compile(
    r"^(?:encoder\.down|decoder\.up)_blocks\.\d+\.(?:resnets\.\d+\.|(?:down|up)samplers?\.(?:0\.)?(?=resample|time_conv))?"
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


_NAMES = rules(
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.norm1\.", ".residual.0."),
    (r"\.norm2\.", ".residual.3."),
    (r"(\.(?:(?:down|up)samples|middle)\.(?:\d+\.)+)conv1\.", r"\1residual.2."),
    (r"(\.(?:(?:down|up)samples|middle)\.(?:\d+\.)+)conv2\.", r"\1residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
    (r"\.conv_in\.", ".conv1."),
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
)


_OF_FRAMES = re.compile(
    r"(?:\.residual\.[26]|\.shortcut|\.head\.2|^(?:encoder\.|decoder\.)?conv[12]|\.time_conv)\.weight$"
)


def over_frames(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a convolution over frames; files for pictures leave out the one tap in time it has."""
    return (*shape[:2], 1, *shape[2:]) if len(shape) == 4 and _OF_FRAMES.search(name) else shape
