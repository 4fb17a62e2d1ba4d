"""What a latent looks like from outside: statistics of its channels, and what is odd about it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..latents.conventions import RAW, SCALED, scaling_of
from ..latents.preview import flatten_frames
from ..latents.spaces import SPACES, Tag, find_spaces

SURE = 1.0  # nats by which one convention must fit better than the other before anything is said (in any space: half)
ALONE = 0.05  # correlation of neighbours below which there is no image
FEWEST = 256  # numbers in a channel, for statistics to mean something
ROWS = 32  # channels that are listed


class ChannelStatistics(NamedTuple):
    """Of each channel over all items, frames and pixels, (C,) float64. NaN and infinity are left out, but counted."""

    mean: Tensor
    std: Tensor
    least: Tensor
    most: Tensor
    broken: int  # numbers that are NaN or infinite
    neighbours: float  # mean correlation of neighbouring pixels; NaN if there are none


def channel_statistics(latent: Tensor) -> ChannelStatistics:
    """latent: (B, C, h, w) or (B, C, T, h, w)"""
    x = flatten_frames(latent).double()
    finite = torch.isfinite(x)
    zeros = torch.where(finite, x, 0.0)
    count = finite.sum((0, 2, 3)).clamp(min=1)
    mean = zeros.sum((0, 2, 3)) / count
    centred = torch.where(finite, x - mean[:, None, None], 0.0)
    std = (centred.square().sum((0, 2, 3)) / count).sqrt()
    lowest, highest = (torch.where(finite, sign * x, -math.inf).amax((0, 2, 3)) * sign for sign in (-1, 1))
    return ChannelStatistics(mean, std, lowest, highest, int((~finite).sum()), _neighbour_correlation(centred))


def describe_latent(latent: Tensor, tag: Tag | None = None, vae: str | None = None) -> str:
    """Lines for people. vae: the fingerprint of the VAE it is looked at with, if any."""
    found = channel_statistics(latent)
    head = [f"shape: {tuple(latent.shape)}, {str(latent.dtype).removeprefix('torch.')}", *_describe_origin(latent, tag)]
    rows = [_format_channel(found, i) for i in range(min(len(found.mean), ROWS))]
    rows += [f"... and {len(found.mean) - ROWS} more"] if len(found.mean) > ROWS else []
    return "\n".join([*head, *(f"warning: {one}" for one in find_warnings(latent, found, tag, vae)), "", *rows])


def find_warnings(
    latent: Tensor, found: ChannelStatistics, tag: Tag | None = None, vae: str | None = None
) -> list[str]:
    """What is odd about a latent, a sentence each."""
    numbers = latent.numel() / latent.shape[1]
    if found.broken:
        return [f"{found.broken} of its {latent.numel()} numbers are NaN or infinite: what made it overflowed."]
    if not latent.any():
        return ["every number is 0: no sampler has worked on this empty latent."]
    odd = []
    if numbers >= FEWEST and abs(found.neighbours) < ALONE:
        odd.append("neighbouring pixels have nothing in common: this is noise that no sampler has worked on.")
    elif numbers >= FEWEST and (tag is None or tag.convention == RAW) and _looks_scaled(latent, found, tag):
        odd.append("its spread is that of a scaled latent, not of a raw one: use Convert Latent from scaled to raw.")
    if tag and tag.vae and vae and tag.vae != vae:
        odd.append("another VAE made it, or the same one in other numbers (fp16): colours may shift.")
    return odd


def _format_channel(found: ChannelStatistics, channel: int) -> str:
    mean, std, least, most = (column[channel].item() for column in found[:4])
    return f"channel {channel}: mean {mean:.3f}, std {std:.3f}, min {least:.3f}, max {most:.3f}"


def _describe_origin(latent: Tensor, tag: Tag | None) -> list[str]:
    if tag is None:
        names = [SPACES[name].models for name in find_spaces(latent.shape[1])]
        return [f"of: {' or '.join(names[:4]) or 'nobody known'}, by its channels; it has no tag"]
    models = SPACES[tag.space].models if tag.space and tag.space in SPACES else f"a VAE of the family '{tag.family}'"
    lines = [f"of: {models}, at 1/{tag.ratio}, {tag.convention}"]
    return [*lines, *([f"image: {tag.size[1]}x{tag.size[0]}"] if tag.size else [])]


def _looks_scaled(latent: Tensor, found: ChannelStatistics, tag: Tag | None) -> bool:
    """In each space it may be of, do its channels fit what is expected of scaled ones far better than of raw ones?"""
    if tag and tag.space not in SPACES:
        return False  # of a VAE that is no model's, as the built-in one: nothing is expected of it
    names: Sequence[str] = [tag.space] if tag and tag.space else find_spaces(latent.shape[1])
    names = [name for name in names if SPACES[name].std or SPACES[name].scale != 1]  # in others both are the same
    gaps = [_misfit(found, name, RAW) - _misfit(found, name, SCALED) for name in names]
    return bool(gaps) and sum(gaps) / len(gaps) > SURE and min(gaps) > SURE / 2


def _misfit(found: ChannelStatistics, name: str, convention: str) -> float:
    """Nats a channel, Kullback-Leibler from Gaussian to Gaussian: those found, and those expected of the space.

    Expected is mean 0 and variance scale**2 of normalised statistics, carried back to raw along the space's line.
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
    """Mean over channels of the correlation of pixels side by side, and one above the other."""
    pairs = [(centred[..., 1:], centred[..., :-1]), (centred[..., 1:, :], centred[..., :-1, :])]
    found = [_correlation(a, b) for a, b in pairs if a.numel()]
    return torch.stack(found).mean().item() if found else math.nan


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    both, first, second = ((p * q).sum((0, 2, 3)) for p, q in ((a, b), (a, a), (b, b)))
    return (both / (first * second).sqrt().clamp(min=1e-30)).mean()
