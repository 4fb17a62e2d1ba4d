"""Names of CogVideoX's autoencoder: the authors' are the reference, which are those of latent diffusion."""

from collections.abc import Iterable
from typing import Any

from ..shapes import Shapes
from .diffusers import from_turned, to_turned
from .layout import DIFFUSERS, ORIGINAL, Layout, Names
from .ldm import LDM


def _is_diffusers(own: Shapes) -> bool:
    return any(".resnets." in name and ".conv1.conv." in name for name in own)


def _write(names: Iterable[str], config: Any = None) -> Names:
    """diffusers calls the last norm as the authors do, and not as in other autoencoders."""
    return {name: new.replace(".conv_norm_out.", ".norm_out.") for name, new in to_turned(names).items()}


COGVIDEOX = LDM._replace(name=ORIGINAL)
COGVIDEOX_DIFFUSERS = Layout(DIFFUSERS, _is_diffusers, from_turned, _write)
