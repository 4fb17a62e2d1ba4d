"""Names of tiny VAEs: the reference numbers layers as taesd.py does, those without weights too."""

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from ..shapes import Shapes
from .layout import DIFFUSERS, Layout, Names, begins, first_parts, half

SHUFFLED = (12, 16)  # channels of an image whose pixels are shuffled 2 x 2: RGB, and RGB with alpha


def from_taesd(own: Shapes) -> Names:
    return {name: name.removeprefix("taesd_") for name in own}


def to_taesd(names: Iterable[str], config: Any = None) -> Names:
    return {name: f"taesd_{name}" if name.startswith(("encoder.", "decoder.")) else name for name in names}


def from_diffusers(own: Shapes) -> Names:
    """diffusers does not count the decoder's clamp, so its layers are one behind.

    So are an encoder's if it does not count the shuffle of pixels that comes first.
    """
    behind = {"decoder": 1, "encoder": int(own.get("encoder.layers.0.weight", (0, 0))[1] in SHUFFLED)}

    def number(match: re.Match) -> str:
        return f"{match[1]}.{int(match[2]) + behind[match[1]]}."

    return {name: re.sub(r"^(encoder|decoder)\.layers\.(\d+)\.", number, name) for name in own}


def to_diffusers(names: Iterable[str], config: Any = None) -> Names:
    def number(match: re.Match) -> str:
        return f"{match[1]}.layers.{int(match[2]) - (match[1] == 'decoder')}."

    return {name: re.sub(r"^(encoder|decoder)\.(\d+)\.", number, name) for name in names}


def _is_module(part: str, own: Shapes) -> bool:
    """Nothing but numbers. An encoder's layer 0 has weights, or shuffles pixels; a decoder's is the clamp, without."""
    tops = first_parts(own)
    if not all(top.isdecimal() for top in tops):
        return False
    return ("0" in tops or _has_strides("", own)) == (part == "encoder")


def _is_diffusers(part: str, own: Shapes) -> bool:
    """An encoder's layer 1 is a residual block, unless it shuffles pixels; a decoder's is an activation."""
    if first_parts(own) != {"layers"}:
        return False
    return (_has_second(own) or _has_strides("layers.", own)) == (part == "encoder")


def _has_strides(start: str, own: Shapes) -> bool:
    """Does a convolution without a bias follow a block? An encoder's does, for its stride; a decoder's follows none."""
    layers = [name.removeprefix(start).removesuffix(".weight") for name in own if name.endswith(".weight")]
    bare = [int(n) for n in layers if n.isdecimal() and f"{start}{n}.bias" not in own]
    return any(f"{start}{n - 1}.conv.0.weight" in own for n in bare)


_has_second = begins("layers.1.")

TAESD = Layout("taesd", begins("taesd_encoder.", "taesd_decoder."), from_taesd, to_taesd)
TAESD_DIFFUSERS = Layout(DIFFUSERS, begins("encoder.layers.", "decoder.layers."), from_diffusers, to_diffusers)
MODULE = Layout("module", begins("encoder.0.", "encoder.1.", "decoder.1."))
DIFFUSERS_HALVES = tuple(half(part, TAESD_DIFFUSERS, partial(_is_diffusers, part)) for part in ("encoder", "decoder"))
MODULE_HALVES = tuple(half(part, MODULE, partial(_is_module, part)) for part in ("encoder", "decoder"))
