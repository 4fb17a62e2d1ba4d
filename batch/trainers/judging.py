"""What is wrong with a latent of a trainer, as far as this is seen without a VAE."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...vae_core import VAEError, readers
from ...vae_core.latents import RAW, SPACES, find_spaces, get_space
from ..mishaps import explain
from ..statistics import SPREADS, Statistics
from .kept import Kept

OTHER_SHAPE = 2.0  # how far the aspect ratio of a bucket may be from its image's: trainers' buckets go in steps
SQUARE = 1.1  # within this factor an image is neither upright nor broad
USUAL_RATIO = 8  # pixels to a number, of most VAEs


def choose_space(kept: Kept, said: str | None) -> str | None:
    """Whose latent it is: what the user says, else what the format allows, if that is one. A key of SPACES."""
    if said:
        return said
    channels = kept.latent.shape[0] if kept.latent.ndim else 0
    usual = kept.spaces or tuple(find_spaces(channels))
    fitting = [one for one in usual if get_space(one).channels == channels]
    return fitting[0] if len(fitting) == 1 else None


def judge(kept: Kept, space: str | None) -> Iterator[str]:
    """What is wrong with its numbers and its shape, in sentences."""
    yield from kept.faults
    latent = kept.latent
    if latent.ndim not in (3, 4) or not latent.numel():
        yield f"its shape is {tuple(latent.shape)}, which no latent of an image or a clip has"
        return
    if not latent.is_floating_point():
        yield f"it is of {str(latent.dtype).removeprefix('torch.')}, and a latent is of floats"
        return
    bad = latent.numel() - int(latent.isfinite().sum())
    if bad:
        yield f"{bad} of its {latent.numel()} numbers are NaN or infinite"
    channels = {get_space(one).channels for one in (space,) if one} or {get_space(one).channels for one in kept.spaces}
    if channels and latent.shape[0] not in channels:
        whose = space or " or ".join(kept.spaces)
        yield f"it has {latent.shape[0]} channels, and those of {whose} have {' or '.join(map(str, sorted(channels)))}"
        return
    yield from judge_size(kept, get_space(space).ratio if space else ratio_of(kept))


def ratio_of(kept: Kept) -> int:
    """Pixels to a number, of the spaces that it may be of."""
    usual = kept.spaces or tuple(find_spaces(kept.latent.shape[0]))
    return next((SPACES[one].ratio for one in usual), USUAL_RATIO)


def judge_size(kept: Kept, ratio: int) -> Iterator[str]:
    width, height = kept.size
    encoded = f"it is {width}x{height}, of {width * ratio}x{height * ratio} pixels"
    if kept.bucket and (width, height) != tuple(-(-side // ratio) for side in kept.bucket):
        yield f"{encoded}, but its bucket is {kept.bucket[0]}x{kept.bucket[1]}"
    elif kept.original and min(kept.original) > 0 and not is_like(width / height, kept.original[0] / kept.original[1]):
        yield f"{encoded}, which is no bucket for an image of {kept.original[0]}x{kept.original[1]}"


def is_like(aspect: float, other: float) -> bool:
    """May an image of one aspect ratio be in a bucket of the other? Both upright, both broad, or not far apart.

    Buckets of trainers end at about 1:4, so of an image that is longer only the direction is asked.
    """
    here, there = math.log(aspect), math.log(other)
    if here * there < 0 and min(abs(here), abs(there)) > math.log(SQUARE):
        return False
    return abs(here - there) <= math.log(OTHER_SHAPE) or abs(there) > math.log(4)


def judge_age(kept: Kept, image: Path) -> Iterator[str]:
    """Is the latent still that of its image?"""
    try:
        height, width = readers.measure(image)
        changed = image.stat().st_mtime_ns
    except (VAEError, OSError) as error:
        yield f"its image '{image}' cannot be read: {explain(error)}"
        return
    if kept.original and (width, height) != kept.original:
        yield (
            f"it is stale: its image was {kept.original[0]}x{kept.original[1]}, and '{image.name}' is {width}x{height}"
        )
    elif changed > kept.made:
        yield f"it may be stale: its image '{image.name}' was changed after it was written"


def count_scalings(spread: float, space: str) -> int:
    """How often more than it should a latent was scaled, -1 for once less; 0 if the spread does not tell.

    spread  of the numbers, as if they were right, brought to unit spread
    """
    of = get_space(space)
    gain = of.scale / (math.sqrt(sum(one * one for one in of.std) / len(of.std)) if of.std else 1.0)
    if not spread > 0 or abs(math.log(gain)) < math.log(SPREADS[1]):
        return 0
    steps = round(math.log(spread) / math.log(gain))
    return steps if abs(steps) <= 2 and SPREADS[0] <= spread / gain**steps <= SPREADS[1] else 0


def judge_spread(statistics: Statistics, convention: str, trainer: str) -> Iterable[str]:
    """What the spread of many latents says. convention: that of the trainer."""
    wrong = statistics.judge()
    steps = count_scalings(statistics.spread, statistics.space) if wrong and statistics.space else 0
    if not steps:
        return wrong
    times = steps + (convention != RAW)
    have = {0: "raw", 1: "scaled"}.get(times, f"scaled {times} times" if times > 0 else "divided by the scale")
    want = "raw" if convention == RAW else "scaled"
    return [f"{trainer} keeps these latents {want}, and these are {have}: their spread is {statistics.spread:.2f}"]
