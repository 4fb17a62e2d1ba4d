"""Names of tiny VAEs: the reference numbers layers as taesd.py does, those without weights too."""

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from ..shapes import Shapes
from .layout import DIFFUSERS, Layout, Names, begins, first_parts, half


def from_taesd(own: Shapes) -> Names:
    return {name: name.removeprefix("taesd_") for name in own}


def to_taesd(names: Iterable[str], config: Any = None) -> Names:
    return {name: f"taesd_{name}" if name.startswith(("encoder.", "decoder.")) else name for name in names}


def from_diffusers(own: Shapes) -> Names:
    """diffusers does not count the decoder's clamp, so its layers are one behind."""

    def number(match: re.Match) -> str:
        return f"{match[1]}.{int(match[2]) + (match[1] == 'decoder')}."

    return {name: re.sub(r"^(encoder|decoder)\.layers\.(\d+)\.", number, name) for name in own}


def to_diffusers(names: Iterable[str], config: Any = None) -> Names:
    def number(match: re.Match) -> str:
        return f"{match[1]}.layers.{int(match[2]) - (match[1] == 'decoder')}."

    return {name: re.sub(r"^(encoder|decoder)\.(\d+)\.", number, name) for name in names}


def _is_module(part: str, own: Shapes) -> bool:
    """Nothing but numbers. Layer 0 of an encoder has weights; in a decoder it is the clamp, which has none."""
    tops = first_parts(own)
    return all(top.isdecimal() for top in tops) and ("0" in tops) == (part == "encoder")


def _is_diffusers(part: str, own: Shapes) -> bool:
    """An encoder's layer 1 is a residual block; a decoder's is an activation, which has no weights."""
    return first_parts(own) == {"layers"} and _has_second(own) == (part == "encoder")


_has_second = begins("layers.1.")

TAESD = Layout("taesd", begins("taesd_encoder.", "taesd_decoder."), from_taesd, to_taesd)
TAESD_DIFFUSERS = Layout(DIFFUSERS, begins("encoder.layers.", "decoder.layers."), from_diffusers, to_diffusers)
MODULE = Layout("module", begins("encoder.0.", "decoder.1."))
DIFFUSERS_HALVES = tuple(half(part, TAESD_DIFFUSERS, partial(_is_diffusers, part)) for part in ("encoder", "decoder"))
MODULE_HALVES = tuple(half(part, MODULE, partial(_is_module, part)) for part in ("encoder", "decoder"))
