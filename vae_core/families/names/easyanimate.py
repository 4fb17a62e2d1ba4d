"""Names of EasyAnimate's autoencoder. diffusers has kept the authors': a file is of both layouts."""

from ..shapes import Shapes
from .diffusers import from_turned
from .layout import DIFFUSERS, ORIGINAL, Layout, keep_names
from .rules import both_ways

_OF_TURNED = both_ways((".convs.#.", ".resnets.#."), (".shortcut.", ".conv_shortcut."))


def as_ldm(own: Shapes) -> Shapes:
    """The shapes under the names of latent diffusion, by which its sizes are read."""
    turned = {name: _OF_TURNED.read(name) for name in own}
    ldm = from_turned({turned[name]: shape for name, shape in own.items()})
    return {ldm[turned[name]]: shape for name, shape in own.items()}


def _has_convs(own: Shapes) -> bool:
    return any(".convs.0.norm1." in name for name in own)


EASYANIMATE_DIFFUSERS = Layout(DIFFUSERS, _has_convs, write=keep_names)
EASYANIMATE = Layout(ORIGINAL, _has_convs, write=keep_names)
