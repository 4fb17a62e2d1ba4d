"""Names of SeedVR2's file: diffusers' for Autoencoder-KL, but for the convolution that makes several pixels of one."""

from collections.abc import Iterable
from typing import Any

from ..shapes import Shapes
from .diffusers import from_turned, to_turned
from .layout import ORIGINAL, Layout, Names
from .ldm import LDM
from .rules import both_ways

_UPSCALE = both_ways((".upsamplers.0.upscale_conv.", ".upsample.upscale_conv."))


def _has_upscaling(own: Shapes) -> bool:
    return any(".upsamplers.0.upscale_conv." in name for name in own)


def _read(own: Shapes) -> Names:
    return {name: _UPSCALE.read(new) for name, new in from_turned(own).items()}


def _write(names: Iterable[str], config: Any = None) -> Names:
    return {name: _UPSCALE.write(new) for name, new in to_turned(names).items()}


OF_LDM = LDM._replace(write=None)  # the reference: no file is written so
SEEDVR2 = Layout(ORIGINAL, _has_upscaling, _read, _write, attention=2)
