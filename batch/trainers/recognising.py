"""An image encoded anew: is its latent in the cache what this VAE gives, and if not, what was done otherwise?"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from ...vae_core import VAE, convert
from ...vae_core.images import convert_channels, to_pixel_range, to_unit_range
from ...vae_core.latents import RAW, SCALED, get_space
from ..comparing import Sample, make_sample, measure_error
from ..fitting import LANCZOS, TRAINER, crop, resize
from ..reading import read_pixels
from ..recipe import Recipe
from ..records import Box, Size, Source
from .kept import Kept

# How far the latent of the same image may be off, relative to its spread, beside the noise of a sample: a trainer may
# resize by another filter or compute in bf16. Of another image or VAE the error is about 1.4, for both are independent.
FITS = 0.35
_ALPHA = (Recipe.alpha, Recipe.background)
STEP = 64  # of the sides of trainers' buckets


@dataclass(frozen=True)
class Way:
    """How a latent may have been made. pixels: their range, as they were given. scaled: how often."""

    pixels: str
    scaled: int

    def describe(self) -> str:
        return f"of pixels in {self.pixels}, {('raw', 'scaled once', 'scaled twice')[self.scaled]}"


RIGHT, HALF = "[-1, 1]", "[0, 1]"
RANGES = (RIGHT, HALF)


@dataclass(frozen=True)
class Match:
    """The way that explains a latent best. error: what is left, relative to its spread; limit: what may be."""

    way: Way
    error: float
    limit: float
    image: Tensor  # (1, C, H, W) in [0, 1], as it was encoded


def recognise(kept: Kept, image: Path, vae: VAE, space: str | None) -> Match:
    """Encode the image as the trainer's bucket has it, in every way. Raises as `read_pixels` does, and DoesNotFit."""
    pixels = read_pixels(Source(image.name, str(image), (0, 0)), srgb=False)
    found = []
    for candidate in _cut(pixels, kept, vae):
        for range_ in RANGES:
            mean, noise = _encode(candidate if range_ == RIGHT else to_unit_range(candidate), vae, kept.latent.ndim)
            for times, expected in enumerate(_scale(mean, space)):
                error = measure_error(kept.latent, expected)
                limit = (FITS**2 + noise**2) ** 0.5
                found.append(Match(Way(range_, times), error, limit, to_unit_range(candidate)))
    return min(found, key=lambda one: one.error)


def judge(kept: Kept, match: Match, vae: VAE, image: Path) -> Iterator[str]:
    """What this says of the latent, in a sentence; nothing if it is right."""
    wanted = Way(RIGHT, int(kept.convention != RAW))
    if not match.error <= match.limit:
        yield (
            f"'{vae.name}' does not give it of '{image.name}': it is off by {match.error:.2g} of its spread, so it is "
            "of another VAE, another crop or another image"
        )
    elif match.way != wanted:
        yield f"it was made {match.way.describe()}, and {kept.trainer} wants it {wanted.describe()}"


def _cut(image: Tensor, kept: Kept, vae: VAE) -> Iterator[Tensor]:
    """image (H, W, C) in [0, 1] -> pixels (1, C', H', W') in [-1, 1] of the bucket: shrunk to cover it, or cut only."""
    original, bucket = (image.shape[1], image.shape[0]), bucket_of(kept, vae.spatial_ratio)
    scale = max(have / want for have, want in zip(bucket, original, strict=True))
    covering = tuple(max(want, int(have * scale + 0.5)) for have, want in zip(original, bucket, strict=True))
    sizes = {(covering[0], covering[1])} | ({original} if _holds(original, bucket) else set())
    for size in sorted(sizes):
        part = crop(resize(image, size, _choose_filter()), _centre(size, bucket))
        part = part.flip(1) if kept.mirrored else part
        yield to_pixel_range(convert_channels(part.movedim(-1, 0)[None], vae.in_channels, *_ALPHA)[0])


def _choose_filter() -> str:
    """As sd-scripts and musubi do it, if OpenCV is there."""
    return TRAINER if find_spec("cv2") else LANCZOS


def bucket_of(kept: Kept, ratio: int) -> Size:
    return kept.bucket or (kept.size[0] * ratio, kept.size[1] * ratio)


def _holds(original: Size, bucket: Size) -> bool:
    """Is the image larger by less than a step of buckets? Then trainers that enlarge nothing only cut it."""
    return all(0 <= have - want < STEP for have, want in zip(original, bucket, strict=True))


def _centre(size: Size, bucket: Size) -> Box:
    left, top = ((have - want) // 2 for have, want in zip(size, bucket, strict=True))
    return left, top, left + bucket[0], top + bucket[1]


def _encode(pixels: Tensor, vae: VAE, dimensions: int) -> tuple[Tensor, float]:
    """(the mean as a latent is kept, (C, h, w) or (C, 1, h, w), float32; the noise of a sample to its spread)"""
    posterior = vae.encode(pixels.to(vae.device))
    mean, logvar = (one[0].float().cpu() for one in posterior.latent_moments())
    noise = logvar.exp().mean().sqrt() / mean.std().clamp_min(1e-6)
    flat = mean[:, 0] if mean.ndim == 4 else mean
    return (flat[:, None] if dimensions == 4 else flat), noise.item()


def _scale(raw: Tensor, space: str | None) -> Iterator[Tensor]:
    """raw, scaled once, scaled twice. Without a space, or one that scales nothing, the raw one alone."""
    yield raw
    if space is None:
        return
    once = convert(raw[None], get_space(space), RAW, SCALED)
    if not torch.equal(once[0], raw):
        yield once[0]
        yield convert(once, get_space(space), RAW, SCALED)[0]


def sample(kept: Kept, match: Match, vae: VAE, space: str | None) -> Sample:
    """The latent decoded, beside its image."""
    raw = kept.latent.float()[None]
    for _ in range(match.way.scaled):
        assert space is not None  # else nothing was scaled
        raw = convert(raw, get_space(space), SCALED, RAW)
    return make_sample(kept.where, match.image, raw, vae, match.error)
