"""A VAE to a file: the way back from reference names to those of a layout.

original    the names of the authors' files: CompVis and Black Forest Labs (`ldm`); `taesd_...` of
            tiny VAEs, both halves in one file; EfficientViT's; Stable Cascade's `codebook` and `previewer`
diffusers   those of a diffusers folder's file

Layouts are those of the family (`Family.layouts`); families/names has them.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..devices.dtypes import DTYPES
from ..devices.numerics import pin_numerics
from ..errors import BadRequest
from ..families import ZEROS
from ..families.blocks.ldm import GROUPS, groups_of
from ..families.names import LAYOUTS, ORIGINAL
from ..families.registry import family_named
from ..files.atomic import Target
from ..files.marks import demand_unwritten
from ..files.safetensors_writing import WORDS, rank_width, write_safetensors
from ..vae import VAE
from .checkpoint import NORM_GROUPS, VERSION
from .files import BORDER
from .places import PICKLES

_CHOICE = ", ".join(DTYPES)


@pin_numerics()
def save(vae: VAE, target: str | Path | Target, layout: str = ORIGINAL, dtype: torch.dtype | None = None) -> None:
    """Write its weights as safetensors. dtype: None, what they are in; statistics of a latent space keep fp32.

    Raises BadRequest for a layout that its family does not have, for a dtype that is not floating-point or that a
    weight does not fit into, for the name of a PyTorch file, and if it cannot be written.
    """
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise BadRequest(f"weights cannot be saved in {str(dtype)[:60]!r}: give a dtype of torch, as torch.bfloat16.")
    if isinstance(target, str | Path) and Path(target).suffix.lower() in PICKLES:
        raise BadRequest(
            f"'{target}' would be safetensors under the name of a PyTorch file, which other programs could not read: "
            "end it in .safetensors."
        )
    if dtype and not dtype.is_floating_point:
        raise BadRequest(f"weights in {str(dtype).removeprefix('torch.')} would be lost: save in one of {_CHOICE}.")
    exact = {name for name, _ in vae.network.named_buffers()}
    tensors = {name: (t, t.dtype if ref in exact else dtype or t.dtype) for ref, name, t in _written(vae, layout)}
    words = {name: _name_stored(kind) for name, (_, kind) in tensors.items()}
    names = sorted(tensors, key=lambda name: (rank_width(words[name]), name))
    write_safetensors(
        Path(target) if isinstance(target, str) else target,
        {name: (words[name], tensors[name][0].shape) for name in names},
        (_cast(name, *tensors[name]) for name in names),
        {"format": "pt", **_note(vae)},  # diffusers asks for the format
    )


def _cast(name: str, t: Tensor, dtype: torch.dtype) -> Tensor:
    """Raises BadRequest for a number that this dtype has not: it would become infinite."""
    if dtype.itemsize < t.dtype.itemsize and t.numel():
        largest, most = max(map(abs, torch.stack(t.aminmax()).tolist())), torch.finfo(dtype).max
        if most < largest < math.inf:
            word = str(dtype).removeprefix("torch.")
            raise BadRequest(f"'{name}' has {largest:.6g} in it, and {word} ends at {most:.6g}: save in bf16 or fp32.")
    return t.to(dtype)


def _name_stored(dtype: torch.dtype) -> str:
    """safetensors' word for a dtype. Raises BadRequest if it has none."""
    if dtype not in WORDS:
        raise BadRequest(f"safetensors has no {str(dtype).removeprefix('torch.')}: save in one of {_CHOICE}.")
    return WORDS[dtype]


@pin_numerics()
def weights_as(vae: VAE, layout: str = ORIGINAL) -> dict[str, Tensor]:
    """Its weights under the names, and in the shapes, of a layout; copied only if it joins some. Raises BadRequest."""
    return {name: t for _, name, t in _written(vae, layout)}


def layouts_of(family: str) -> tuple[str, ...]:
    """Those that files of the family are written in, of LAYOUTS."""
    written = {layout.choice for layout in family_named(family).layouts if layout.write}
    return tuple(layout for layout in LAYOUTS if layout in written)


def _note(vae: VAE) -> dict[str, str]:
    """What the weights do not say."""
    groups, version = groups_of(vae.config), vars(vae.config).get("version")
    said = {BORDER: vae.config.border} if vae.config.border != ZEROS else {}
    said |= {NORM_GROUPS: str(groups)} if groups != GROUPS else {}
    return said | ({VERSION: version} if version else {})


def _written(vae: VAE, layout: str) -> Iterator[tuple[str, str, Tensor]]:
    """(reference name, the layout's, the tensor in its shape)"""
    demand_unwritten(vae)
    for one in family_named(vae.family).layouts:
        if one.write and one.choice == layout:
            weights = one.held(vae.network.state_dict(), vae.config)
            names = one.write(weights, vae.config)
            return ((name, names[name], _as_held(name, t, one.attention)) for name, t in weights.items())
    known = " or ".join(layouts_of(vae.family))
    raise BadRequest(f"'{vae.name}' is {vae.title}, which has no layout '{layout}': choose {known}.")


def _as_held(name: str, t: Tensor, attention: int) -> Tensor:
    return _in_dimensions(t, attention) if re.search(_ATTENTION, name) else t


def _in_dimensions(t: Tensor, dimensions: int) -> Tensor:
    """(C, C, 1, 1) as a linear layer's (C, C), or as a convolution's over one frame, (C, C, 1, 1, 1)."""
    return t.reshape(*t.shape[:2], *(1,) * (dimensions - 2))


_ATTENTION = r"\.attn(?:_1(?:\.\d)?|\.\d+)?\.(?:q|k|v|proj_out|to_(?:q|k|v|out))\.weight$"
