"""Names of Stable Cascade: diffusers' names of stage A are the reference; stage C's decoder is called so."""

from collections.abc import Iterable
from typing import Any

from ..shapes import Shapes
from .layout import DIFFUSERS, ORIGINAL, Layout, Names, begins, first_parts, half, keep_names
from .rules import both_ways


def from_cascade(own: Shapes) -> Names:
    return {name: _CASCADE.read(name) for name in own}


def to_cascade(names: Iterable[str], config: Any = None) -> Names:
    return {name: _CASCADE.write(name) for name in names}


def _is_stage_a(own: Shapes) -> bool:
    return _has_stage_a(own) and not _is_diffusers(own)


def _is_encoder(own: Shapes) -> bool:
    return "backbone" in first_parts(own)


def _is_previewer(own: Shapes) -> bool:
    return "blocks" in first_parts(own)


_CASCADE = both_ways(("^previewer.", "^decoder."), ("^vquantizer.codebook.", "^vquantizer.embedding."))
_has_stage_a = begins("in_block.1.", "down_blocks.0.gammas", "vquantizer.")
_is_diffusers = begins("vquantizer.embedding.")

STAGE_A = Layout(ORIGINAL, _is_stage_a, from_cascade, to_cascade)
STAGE_A_DIFFUSERS = Layout(DIFFUSERS, _is_diffusers, from_cascade, keep_names)
STAGE_C = Layout(ORIGINAL, begins("encoder.backbone.", "previewer.", "decoder.blocks."), from_cascade, to_cascade)
_BARE = Layout(ORIGINAL, STAGE_C.marks)
STAGE_C_HALVES = (half("encoder", _BARE, _is_encoder), half("decoder", _BARE, _is_previewer))
