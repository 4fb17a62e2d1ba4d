"""Description of a latent for people: statistics of its channels, and warnings."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..devices.cards import to_float64
from ..devices.numerics import pin_numerics
from ..images.pixels import flatten_frames
from ..latents.conventions import RAW, SCALED, scaling_of
from ..latents.spaces import SPACES, find_spaces
from ..latents.tag import Tag

SURE = 1.0  # nats by which a convention must fit better before there is a warning; in each single space, half of it
ALONE = 0.05  # correlation of neighbouring pixels below which a latent is noise and no image
FEWEST = 256  # numbers per channel below which statistics say nothing
ROWS = 32  # most channels that are listed


class ChannelStatistics(NamedTuple):
    """Per channel, over all items, frames and pixels: (C,) float64. NaN and infinity are left out, and counted."""

    mean: Tensor
    std: Tensor
    least: Tensor
    most: Tensor
    broken: int  # numbers that are NaN or infinite
    neighbours: float  # mean correlation of neighbouring pixels; NaN if there are none


@pin_numerics()
def channel_statistics(latent: Tensor) -> ChannelStatistics:
    """Statistics of a latent (B, C, h, w) or (B, C, T, h, w), any range and dtype."""
    x = to_float64(flatten_frames(latent))
    finite = torch.isfinite(x)
    zeros = torch.where(finite, x, 0.0)
    count = finite.sum((0, 2, 3)).clamp(min=1)
    mean = zeros.sum((0, 2, 3)) / count
    centred = torch.where(finite, x - mean[:, None, None], 0.0)
    std = (centred.square().sum((0, 2, 3)) / count).sqrt()
    lowest, highest = (torch.where(finite, sign * x, -math.inf).amax((0, 2, 3)) * sign for sign in (-1, 1))
    return ChannelStatistics(mean, std, lowest, highest, int((~finite).sum()), _neighbour_correlation(centred))


@pin_numerics()
def describe_latent(latent: Tensor, tag: Tag | None = None, vae: str | None = None) -> str:
    """Lines for people about a latent: shape, models, warnings, statistics of each channel.

    latent: (B, C, h, w) or (B, C, T, h, w), any range and dtype. vae: fingerprint of the VAE that will decode it.
    """
    found = channel_statistics(latent)
    head = [f"shape: {tuple(latent.shape)}, {str(latent.dtype).removeprefix('torch.')}", *_describe_origin(latent, tag)]
    rows = [_format_channel(found, i) for i in range(min(len(found.mean), ROWS))]
    rows += [f"... and {len(found.mean) - ROWS} more"] if len(found.mean) > ROWS else []
    return "\n".join([*head, *(f"warning: {one}" for one in find_warnings(latent, found, tag, vae)), "", *rows])


@pin_numerics()
def describe_numbers(latent: Tensor) -> str:
    """A line for people about a latent of any shape, range and real dtype, as of sound: its shape and statistics."""
    x = to_float64(latent.detach())
    finite = x[torch.isfinite(x)]
    head = f"{tuple(latent.shape)}, {str(latent.dtype).removeprefix('torch.')}"
    if len(finite) < x.numel():
        return f"{head}; {x.numel() - len(finite)} of its {x.numel()} numbers are NaN or infinite"
    std, mean = torch.std_mean(finite, correction=0)
    return f"{head}; {_format_statistics(mean, std, finite.min(), finite.max())}"


@pin_numerics()
def find_warnings(
    latent: Tensor, found: ChannelStatistics, tag: Tag | None = None, vae: str | None = None
) -> list[str]:
    """A sentence for each thing that is wrong with a latent. vae: fingerprint of the VAE that will decode it."""
    numbers = latent.numel() / latent.shape[1]
    if found.broken:
        return [f"{found.broken} of its {latent.numel()} numbers are NaN or infinite: its VAE or sampler overflowed."]
    if not latent.any():
        return ["every number is 0: no sampler has worked on this empty latent."]
    odd = []
    if numbers >= FEWEST and abs(found.neighbours) < ALONE:
        odd.append("neighbouring pixels are not correlated: this is noise that no sampler has worked on.")
    elif numbers >= FEWEST and (tag is None or tag.convention == RAW) and _looks_scaled(latent, found, tag):
        odd.append("its statistics are those of a scaled latent, not a raw one: use Convert Latent from scaled to raw.")
    if tag and tag.vae and vae and tag.vae != vae:
        odd.append("another VAE made it, or the same VAE in another dtype (fp16): colours may shift.")
    return odd


def _format_channel(found: ChannelStatistics, channel: int) -> str:
    return f"channel {channel}: {_format_statistics(*(column[channel] for column in found[:4]))}"


def _format_statistics(*numbers: Tensor) -> str:
    said = (format_fixed(number.item()) for number in numbers)
    return ", ".join(f"{name} {one}" for name, one in zip(("mean", "std", "min", "max"), said, strict=True))


def format_fixed(number: float, digits: int = 3) -> str:
    """'0.000' also for -0.0004"""
    return f"{round(number, digits) + 0.0:.{digits}f}"


def _describe_origin(latent: Tensor, tag: Tag | None) -> list[str]:
    if tag is None:
        names = [SPACES[name].models for name in find_spaces(latent.shape[1])]
        return [f"of: {' or '.join(names[:4]) or 'nobody known'}, by its channels; it has no tag"]
    models = SPACES[tag.space].models if tag.space and tag.space in SPACES else f"a VAE of the family '{tag.family}'"
    lines = [f"of: {models}, at 1/{tag.ratio}, {tag.convention}"]
    return [*lines, *([f"image: {tag.size[1]}x{tag.size[0]}"] if tag.size else [])]


def _looks_scaled(latent: Tensor, found: ChannelStatistics, tag: Tag | None) -> bool:
    """Do its statistics fit scaled latents far better than raw ones, in every space that it may belong to?"""
    if tag and tag.space not in SPACES:
        return False  # a VAE that belongs to no model, such as the built-in one: nothing is known about its latents
    names: Sequence[str] = [tag.space] if tag and tag.space else find_spaces(latent.shape[1])
    names = [name for name in names if SPACES[name].std or SPACES[name].scale != 1]  # in others both are the same
    gaps = [_misfit(found, name, RAW) - _misfit(found, name, SCALED) for name in names]
    return bool(gaps) and sum(gaps) / len(gaps) > SURE and min(gaps) > SURE / 2


def _misfit(found: ChannelStatistics, name: str, convention: str) -> float:
    """KL divergence in nats per channel from the Gaussians expected in this space to those found.

    Scaled latents are expected to have mean 0 and variance scale**2 (1 in a space without statistics per channel);
    raw ones what this becomes when it is converted to raw.
    """
    space = SPACES[name]
    to_scaled = scaling_of(space, SCALED)
    unit = space.scale if space.std else 1.0  # the standard deviation of a scaled channel
    if convention == RAW:
        mean, std = to_scaled.offset, unit / to_scaled.gain
    else:
        mean, std = torch.zeros_like(to_scaled.offset), torch.full_like(to_scaled.gain, unit)
    share = (found.std / std).clamp(min=1e-6)
    return (share.square() / 2 + ((found.mean - mean) / std).square() / 2 - 0.5 - share.log()).mean().item()


def _neighbour_correlation(centred: Tensor) -> float:
    """Mean over channels of the correlation of horizontal and vertical neighbours; NaN without neighbours."""
    pairs = [(centred[..., 1:], centred[..., :-1]), (centred[..., 1:, :], centred[..., :-1, :])]
    found = [_correlation(a, b) for a, b in pairs if a.numel()]
    return torch.stack(found).mean().item() if found else math.nan


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    both, first, second = ((p * q).sum((0, 2, 3)) for p, q in ((a, b), (a, a), (b, b)))
    return (both / (first * second).sqrt().clamp(min=1e-30)).mean()
