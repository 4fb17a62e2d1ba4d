"""Everything that changes the numbers of a cache. Two runs of one recipe on the same images give the same bits."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ..vae_core import BadRequest
from .buckets import ASPECT, MUSUBI, RULES, SD_SCRIPTS, SIDES, Rule
from .fitting import FILTERS, LANCZOS, TRAINER, demand_filter
from .records import Size

MEAN, BOTH, SAMPLE = POSTERIORS = ("mean", "mean+logvar", "sample")
CROP, PAD = FITS = ("crop", "pad")
# The tensors of a latent, by its posterior. The first has the numbers that are judged.
TENSORS: Mapping[str, tuple[str, ...]] = {MEAN: ("mean",), BOTH: ("mean", "logvar"), SAMPLE: ("latent",)}
STORED = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AUTOMATIC = "auto"
FASTEST = 1000  # frames a second


@dataclass(frozen=True)
class Recipe:
    """How images become latents.

    area       (width, height) whose product buckets keep
    step       that sides of buckets are multiples of
    buckets    the rule, one of buckets.RULES
    sizes      buckets to choose from, (width, height) each; empty: those of the rule
    fit        'crop' to the bucket, or 'pad' to it by the image's edge
    enlarge    may an image be made larger?
    sides      the shortest and the longest side of a bucket, of sd-scripts' rule
    filter     by which is resized, one of fitting.FILTERS; 'auto': as the rule's trainer does, or Lanczos
    smallest   an image with a shorter side is skipped
    flip       store the latent of the mirrored image too
    frames     of each piece of a clip; several: it is cut into pieces of each; none: images are encoded
    fps        frames a second that clips are brought to by leaving out or repeating; 0: all frames as they are
    crops      of each image: the centre, and others that its content decides
    posterior  'mean', 'mean+logvar', or 'sample' by the seed
    stored     dtype of the numbers in the shards: 'fp32', 'bf16', 'fp16'
    alpha      what is done to transparency: see vae_core.images.convert_channels
    background the colour to lay it over
    srgb       convert colours of an ICC profile to sRGB
    batch      images that are encoded together: it changes last bits
    threads    of the CPU for each encoder: another number changes last bits
    rows       of a band, as RunOptions.rows has it: it changes last bits. None: the plan of the first run
    """

    area: Size = (1024, 1024)
    step: int = 64
    buckets: str = ASPECT
    sizes: tuple[Size, ...] = ()
    fit: str = CROP
    enlarge: bool = True
    sides: Size = SIDES
    filter: str = AUTOMATIC
    smallest: int = 32
    flip: bool = False
    crops: int = 1
    frames: tuple[int, ...] = ()
    fps: float = 0.0
    posterior: str = MEAN
    seed: int = 0
    stored: str = "fp32"
    alpha: str = "automatic"
    background: str = "#ffffff"
    srgb: bool = False
    batch: int = 1
    threads: int = 1
    rows: int | None = None

    def check(self) -> "Recipe":
        """The recipe with nothing left open. Raises BadRequest for what cannot be."""
        for name, value, choices in (
            ("buckets", self.buckets, RULES),
            ("fit", self.fit, FITS),
            ("posterior", self.posterior, POSTERIORS),
            ("filter", self.filter, (AUTOMATIC, *FILTERS)),
            ("dtype", self.stored, tuple(STORED)),
        ):
            if value not in choices:
                raise BadRequest(f"{name} cannot be '{value}': choose one of {', '.join(choices)}.")
        if not isinstance(self.area, tuple | list) or [type(n) for n in self.area] != [int, int]:
            raise BadRequest(f"area must be a width and a height in pixels, as (1024, 1024), not {self.area}.")
        if not isinstance(self.frames, tuple | list) or any(type(n) is not int for n in self.frames):
            raise BadRequest(f"frames must be whole numbers in a tuple, as (1, 17), not {self.frames}.")
        if min(self.step, self.crops, self.batch, self.threads, *self.area) < 1:
            raise BadRequest("area, step, crops, batch and threads must be 1 or more.")
        if min(self.frames, default=1) < 1 or not 0 <= self.fps <= FASTEST or (self.fps and not self.frames):
            raise BadRequest(f"frames must be 1 or more, and fps, which needs frames, at most {FASTEST}.")
        if self.fit == PAD and self.buckets in (SD_SCRIPTS, MUSUBI):
            raise BadRequest(f"the rule of {self.buckets} crops: choose --fit crop, or --buckets aspect.")
        usual = TRAINER if self.buckets in (SD_SCRIPTS, MUSUBI) else LANCZOS
        filter = usual if self.filter == AUTOMATIC else self.filter
        known = replace(self, filter=filter, frames=tuple(sorted(set(self.frames))))
        demand_filter(known.filter)
        return known

    @property
    def rule(self) -> Rule:
        pad = self.fit == PAD
        return Rule(self.buckets, self.area, self.step, self.sizes, pad, self.enlarge, self.sides)

    @property
    def dtype(self) -> torch.dtype:
        return STORED[self.stored]

    def to_dict(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "Recipe":
        d = upgrade(d)
        pairs = {name: tuple(d[name]) for name in ("area", "sides", "frames") if name in d}
        return cls(**{**d, **pairs, "sizes": tuple(tuple(one) for one in d["sizes"])})


def upgrade(d: dict[str, Any]) -> dict[str, Any]:
    """A recipe as `to_dict` gives it, of one that an earlier version may have written: with one number of frames."""
    frames = d.get("frames", [])
    return {**d, "frames": [frames] * (frames > 0)} if isinstance(frames, int) else d


def stored_like(dtype: torch.dtype) -> str:
    """The name of the dtype to store what was computed in this one: 'fp32', 'bf16', 'fp16'."""
    return next((name for name, one in STORED.items() if one == dtype), "fp32")


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
