"""Names of the networks that descend from latent diffusion: those of CompVis are the reference."""

import re
from functools import partial

from ..shapes import Shapes
from .layout import Layout, Marks, Names, begins, first_parts, half, keep_names


def from_ldm(own: Shapes) -> Names:
    """Black Forest Labs keeps the quant convs inside the halves."""
    return {name: re.sub(r"^(?:encoder|decoder)\.((?:post_)?quant_conv\.)", r"\1", name) for name in own}


def has_one(level: str, other: str) -> Marks:
    """Marks of a bare half: names begin with the one word, and none with the other half's."""
    return partial(_has_one, level, other)


def _has_one(level: str, other: str, own: Shapes) -> bool:
    tops = first_parts(own)
    return level in tops and other not in tops


LDM = Layout("ldm", begins("encoder.down.", "decoder.up."), from_ldm, keep_names)
LDM_OF_CLIPS = LDM._replace(attention=5)
HALVES = (half("encoder", LDM, has_one("down", "up")), half("decoder", LDM, has_one("up", "down")))
