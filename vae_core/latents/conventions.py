"""What the numbers of a latent mean, and the ways from one meaning to another.

raw          as the encoder makes it and the decoder reads it; what nodes pass on
scaled       as the diffusion model sees it, and pipelines of diffusers give it (`output_type="latent"`)
normalised   every channel with mean 0 and variance 1, as far as the space's statistics are published

Of a space with one scale the last two are the same; of one with a mean and a std per channel they differ by its scale.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..dtypes import at_least_fp32
from ..errors import BadRequest, LatentMismatch
from .spaces import RAW, LatentSpace, name_models

CONVENTIONS = RAW, SCALED, NORMALISED = (RAW, "scaled", "normalised")


class Scaling(NamedTuple):
    """number = (raw - offset) * gain, for each channel."""

    offset: Tensor
    gain: Tensor


def scaling_of(space: LatentSpace, convention: str) -> Scaling:
    """Offset and gain of each channel, (C,), float64. Raises BadRequest for a convention there is none of."""
    if convention not in CONVENTIONS:
        raise BadRequest(f"a latent is not '{convention}': choose one of {', '.join(CONVENTIONS)}.")
    zero, one = torch.zeros(space.channels, dtype=torch.float64), torch.ones(space.channels, dtype=torch.float64)
    if convention == RAW:
        return Scaling(zero, one)
    if not space.std:
        return Scaling(zero + space.shift, one * space.scale)
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (space.mean, space.std))
    return Scaling(mean, (space.scale if convention == SCALED else 1.0) / std)


def convert(latent: Tensor, space: LatentSpace, origin: str, target: str) -> Tensor:
    """A latent of one convention as one of another, in its own shape, fp32 at least.

    latent          (B, C, h, w) or (B, C, T, h, w) with the channels of the space, floating-point
    origin, target  'raw', 'scaled' or 'normalised'
    Raises LatentMismatch if the latent is not of this space, BadRequest for a convention that is none of these.
    """
    if latent.ndim not in (4, 5) or latent.shape[1] != space.channels:
        raise LatentMismatch(
            f"this latent has the shape {tuple(latent.shape)}, but those of {space.models} have {space.channels} "
            f"channels{_whose(latent)}."
        )
    there, back = (scaling_of(space, convention) for convention in (target, origin))
    gain = there.gain / back.gain
    offset = (back.offset - there.offset) * there.gain
    dtype = at_least_fp32(latent.dtype)
    shape = (-1, *(1,) * (latent.ndim - 2))
    return latent.to(dtype) * _on(gain, latent, dtype).reshape(shape) + _on(offset, latent, dtype).reshape(shape)


def _on(numbers: Tensor, latent: Tensor, dtype: torch.dtype) -> Tensor:
    return numbers.to(latent.device, dtype)


def _whose(latent: Tensor) -> str:
    whose = name_models(latent.shape[1]) if latent.ndim in (4, 5) else ""
    return f" (this one is of {whose})" if whose else ""
