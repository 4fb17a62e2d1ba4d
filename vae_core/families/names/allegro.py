"""Names of Allegro's autoencoder: those of latent diffusion are the reference.

diffusers has kept the authors' names: a file is of both layouts.
"""

from collections.abc import Iterable
from typing import Any

from ..shapes import Shapes
from .diffusers import from_turned, to_turned
from .layout import DIFFUSERS, ORIGINAL, Layout, Names
from .rules import both_ways

_OVER_FRAMES = both_ways((".mid_block.temp_convs.", ".mid.temp_convs."))


def _has_blocks(own: Shapes) -> bool:
    return any("_blocks." in name and ".temp_convs." in name for name in own)


def _is_reference(own: Shapes) -> bool:
    return any(".temp_convs." in name for name in own) and not _has_blocks(own)


def _read(own: Shapes) -> Names:
    return {name: _OVER_FRAMES.read(new) for name, new in from_turned(own).items()}


def _write(names: Iterable[str], config: Any = None) -> Names:
    return {name: _OVER_FRAMES.write(new) for name, new in to_turned(names).items()}


ALLEGRO_DIFFUSERS = Layout(DIFFUSERS, _has_blocks, _read, _write, attention=2)
ALLEGRO = ALLEGRO_DIFFUSERS._replace(name=ORIGINAL)
REFERENCE = Layout(ORIGINAL, _is_reference)  # no file is written so
