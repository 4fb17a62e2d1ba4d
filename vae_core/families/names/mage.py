"""Names of Mage-VAE: those of the class that diffusers is to have are the reference.

Its authors' file holds the halves as they were trained, as `student.dconv_encoder` and `pipeline`, and their program
as `dconv_encoder` and `decoder_model`.
"""

from collections.abc import Iterable
from typing import Any

from ..shapes import Shapes
from .layout import DIFFUSERS, ORIGINAL, Layout, Names, begins
from .rules import both_ways


def from_original(own: Shapes) -> Names:
    return {name: _ORIGINAL.read(name) for name in own}


def to_original(names: Iterable[str], config: Any = None) -> Names:
    return {name: _ORIGINAL.write(name) for name in names}


def from_module(own: Shapes) -> Names:
    return {name: _MODULE.read(name) for name in own}


_ORIGINAL = both_ways(("^student.dconv_encoder.", "^encoder."), ("^pipeline.", "^decoder."))
_MODULE = both_ways(("^dconv_encoder.", "^encoder."), ("^decoder_model.", "^decoder."))

ORIGINAL_NAMES = Layout(ORIGINAL, begins("student.dconv_encoder.", "pipeline.s_embedder."), from_original, to_original)
MODULE = Layout("module", begins("dconv_encoder.", "decoder_model."), from_module)
DIFFUSERS_NAMES = Layout(DIFFUSERS, begins("encoder.patch_cond_embed.", "decoder.s_embedder."))
