"""Conventions for the numbers of a latent, and conversion between them.

raw          what the encoder makes and the decoder takes; nodes pass on raw latents
scaled       what the diffusion model sees; pipelines of diffusers return it with `output_type="latent"`
normalised   mean 0 and variance 1 in every channel, by the published statistics of the space

In a space with a single scale, scaled and normalised are the same. In one with a mean and a std per channel they differ
by the scale.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..devices.dtypes import at_least_fp32
from ..devices.numerics import pin_numerics
from ..errors import BadRequest, LatentMismatch
from .numbers import demand_latent
from .spaces import LatentSpace, get_space, name_models

CONVENTIONS = RAW, SCALED, NORMALISED = ("raw", "scaled", "normalised")


class Scaling(NamedTuple):
    """From raw to a convention: number = (raw - offset) * gain. Both (C,), float64."""

    offset: Tensor
    gain: Tensor


def scaling_of(space: LatentSpace, convention: str) -> Scaling:
    """Offset and gain of each channel from raw to a convention. Raises BadRequest for an unknown convention."""
    if convention not in CONVENTIONS:
        raise BadRequest(f"a latent is not '{convention}': choose one of {', '.join(CONVENTIONS)}.")
    zero, one = torch.zeros(space.channels, dtype=torch.float64), torch.ones(space.channels, dtype=torch.float64)
    if convention == RAW:
        return Scaling(zero, one)
    if not space.std:
        return Scaling(zero + space.shift, one * space.scale)
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (space.mean, space.std))
    return Scaling(mean, (space.scale if convention == SCALED else 1.0) / std)


@pin_numerics()
def convert(latent: Tensor, space: LatentSpace | str, origin: str, target: str) -> Tensor:
    """Convert a latent of this space, or of that with this name, from one convention to another.

    latent          (B, C, h, w) or (B, C, T, h, w), any floating dtype
    origin, target  'raw', 'scaled' or 'normalised'
    Returns the same shape, float32 at least.
    Raises LatentMismatch if the shape is not one of this space, BadRequest for an unknown convention or name.
    """
    demand_latent(latent)
    space = get_space(space)
    if latent.ndim not in (4, 5) or latent.shape[1] != space.channels:
        raise LatentMismatch(
            f"this latent has the shape {tuple(latent.shape)}, but latents of {space.models} have {space.channels} "
            f"channels{_owner(latent)}."
        )
    there, back = scaling_of(space, target), scaling_of(space, origin)
    latent = latent.to(at_least_fp32(latent.dtype))
    gain = _per_channel(there.gain / back.gain, latent)
    offset = _per_channel((back.offset - there.offset) * there.gain, latent)
    return latent * gain + offset


def _per_channel(numbers: Tensor, latent: Tensor) -> Tensor:
    """(C,) -> (C, 1, 1) or (C, 1, 1, 1), to multiply a latent with."""
    return numbers.to(latent).reshape(-1, *(1,) * (latent.ndim - 2))


def _owner(latent: Tensor) -> str:
    models = name_models(latent.shape[1]) if latent.ndim in (4, 5) else ""
    return f" (this one is of {models})" if models else ""
