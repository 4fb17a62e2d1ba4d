"""Names of VidTok's autoencoders. diffusers has kept the authors': a file is of both layouts.

The reference has them, less what wraps the convolutions of attention in causal networks.
"""

import re
from collections.abc import Iterable
from typing import Any

from ..shapes import Shapes
from .layout import DIFFUSERS, ORIGINAL, Layout, Names, Weights

_ATTENTION = re.compile(r"(\.attn_1\.(?:q|k|v|proj_out))\.conv\.")
_OF_ATTENTION = re.compile(r"(\.attn_1\.(?:q|k|v|proj_out))\.")
_IN_TIME = re.compile(r"(?:down|up)_temporal\.\d+\.block\.\d+\.")
_CONV_IN_TIME = re.compile(_IN_TIME.pattern + r"conv[12](\.conv)?\.weight$")
_WRAPPED = re.compile(r"(conv\w*)\.conv\.|(norm\w*)\.norm\.")


def is_vidtok(own: Shapes) -> bool:
    return any(map(_IN_TIME.search, own))


def is_causal(own: Shapes) -> bool:
    """Are its convolutions over frames wrapped? Most of them: a name may be lost."""
    found = [match[1] for match in map(_CONV_IN_TIME.search, own) if match]
    return sum(map(bool, found)) * 2 >= len(found)


def as_ldm(own: Shapes) -> Shapes:
    """The shapes under the names of latent diffusion, by which its sizes are read."""
    return {_WRAPPED.sub(lambda match: f"{match[1] or match[2]}.", name): shape for name, shape in own.items()}


def over_frames_alone(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a convolution over frames alone, which files have as one of one dimension: (C, C, 3)."""
    return (*shape, 1, 1) if len(shape) == 3 and _CONV_IN_TIME.search(name) else shape


def _read(own: Shapes) -> Names:
    return {name: _ATTENTION.sub(r"\1.", name) for name in own}


def _write(names: Iterable[str], config: Any) -> Names:
    return {name: _OF_ATTENTION.sub(r"\1.conv.", name) if config.version else name for name in names}


def _held(weights: Weights, config: Any) -> Weights:
    """Convolutions over frames alone as those of one dimension, (C, C, 3)."""
    return {name: t.flatten(2) if _CONV_IN_TIME.search(name) else t for name, t in weights.items()}


VIDTOK_DIFFUSERS = Layout(DIFFUSERS, is_vidtok, _read, _write, held=_held, attention=5)
VIDTOK = VIDTOK_DIFFUSERS._replace(name=ORIGINAL)
