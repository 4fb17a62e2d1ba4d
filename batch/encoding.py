"""Items to latents, on one device."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from ..vae_core import (
    VAE,
    BadPixels,
    BadRequest,
    DoesNotFit,
    NumericalOverflow,
    Plan,
    Posterior,
    RunOptions,
    TilePlan,
    VAEError,
    load,
)
from ..vae_core.images import convert_channels, to_pixel_range
from . import clips, fitting
from .limits import AHEAD, READERS
from .mishaps import skip
from .reading import read_pixels
from .recipe import BOTH, MEAN, Recipe
from .records import Item, Shape, Skipped
from .shards import Latent

Batch = Sequence[Item]
Result = Latent | Skipped
ADVICE = "more memory, a smaller --area, or --rows in a new folder"


@dataclass(frozen=True)
class Loading:
    """Which VAE to load, so that each process can: the arguments of `vae_core.load`."""

    files: tuple[Path, ...] = ()
    dtype: torch.dtype | None = None
    latent_space: str | None = None
    light: bool = False
    border: str | None = None
    download: bool = False

    def load(self, device: str | torch.device) -> VAE:
        more = {"latent_space": self.latent_space, "light": self.light, "border": self.border}
        return load(*self.files, dtype=self.dtype, device=device, download=self.download, **more)


@dataclass(frozen=True)
class Agreed:
    """How images of a shape are run, in every process and each time: rows of a band, or 0, and images at once."""

    rows: int
    images: int


def agree(vae: VAE, recipe: Recipe, shapes: Iterable[Shape]) -> dict[Shape, Agreed]:
    """How each shape is run. Raises DoesNotFit."""
    found = {}
    for shape in shapes:
        width, height, *frames = shape
        if recipe.frames and not frames:
            frames = [1]
        plan = vae.plan("encode", (recipe.batch, vae.in_channels, *frames, height, width), rows=recipe.rows)
        found[shape] = of_plan(plan)
    return found


def of_plan(plan: Plan) -> Agreed:
    return Agreed(plan.rows or 0, 1 if plan.rows else plan.images)


def read_plans(job: Mapping[str, Any]) -> dict[Shape, Agreed]:
    """How each shape was run, as job.json has it."""
    return {tuple(map(int, said.split("x"))): Agreed(*how) for said, how in job.get("plans", {}).items()}


class Encoder:
    """A VAE on a device, and threads that read images for it: so many readers."""

    def __init__(self, vae: VAE, recipe: Recipe, plans: Mapping[Shape, Agreed], readers: int = READERS):
        self.vae, self.recipe, self.plans = vae, recipe, plans
        self.ahead = max(AHEAD, -(-2 * readers // recipe.batch))  # batches, so that no reader waits
        self._pool = ThreadPoolExecutor(readers, "exact-vae-read")
        self._read: dict[str, Future[Tensor]] = {}

    def encode(self, batch: Batch, ahead: Iterable[Batch] = ()) -> list[Result]:
        """A result for each item, in order. ahead: batches that come next; their images are read meanwhile.

        Raises DoesNotFit, and what the device raises. What is wrong with one image is its result.
        """
        for one in (batch, *ahead):
            self._start_reading(one)
        pixels, results = {}, {}
        for item in batch:
            try:
                pixels[item.record.key] = self._read.pop(item.record.key).result()
            except (VAEError, OSError) as error:
                results[item.record.key] = _skip(item, error)
        if pixels:
            results |= self._encode_all([one for one in batch if one.record.key in pixels], pixels)
        return [results[item.record.key] for item in batch]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _start_reading(self, batch: Batch) -> None:
        for item in batch:
            if item.record.key not in self._read:
                self._read[item.record.key] = self._pool.submit(load_pixels, item, self.recipe, self.vae.in_channels)

    def _encode_all(self, items: Batch, pixels: Mapping[str, Tensor]) -> dict[str, Result]:
        """All items at once; if numbers of one are wrong, each by itself beside copies of itself."""
        x = torch.stack([pixels[item.record.key] for item in items])
        try:
            latents = self._run(self._fill(x), items)
        except (BadPixels, NumericalOverflow) as error:
            if len(items) == 1:
                return {items[0].record.key: _skip(items[0], error)}
            return {key: one for item in items for key, one in self._encode_all([item], pixels).items()}
        return {item.record.key: self._store(item, one) for item, one in zip(items, latents, strict=True)}

    def _fill(self, x: Tensor) -> Tensor:
        """As many images as in every batch, because another number may round differently: the last is repeated."""
        missing = self.recipe.batch - len(x)
        return torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x

    def _run(self, x: Tensor, items: Batch) -> list[dict[str, Tensor]]:
        agreed = self.plans[items[0].record.shape]
        options = RunOptions(rows=agreed.rows or None, on_plan=_demand_plan(agreed), advice=ADVICE)
        posterior = self.vae.encode(x, options=options)
        return split(posterior, self.recipe, [item.record.key for item in items])

    def _store(self, item: Item, tensors: dict[str, Tensor]) -> Result:
        stored = {
            name: one.to("cpu", self.recipe.dtype).clone(memory_format=torch.contiguous_format)
            for name, one in tensors.items()
        }
        if all(bool(one.isfinite().all()) for one in stored.values()):
            return Latent(item.record, stored)
        reason = f"its latent is not finite in {self.recipe.stored}"
        return Skipped(item.record.path, reason, item.record.id, key=item.record.key)


def _skip(item: Item, error: Exception) -> Skipped:
    return skip(item.record.path, error, item.record.id, item.record.key)


def _demand_plan(agreed: Agreed) -> Callable[[Plan | TilePlan | str], None]:
    """Refuses a run by another plan: it would round differently."""

    def check(plan: Plan | TilePlan | str) -> None:
        if isinstance(plan, Plan) and of_plan(plan) != agreed:
            was = f"bands of {agreed.rows} rows" if agreed.rows else f"whole, {agreed.images} at once"
            raise DoesNotFit(
                f"images of this cache are encoded {was}, for which memory is too small now: close other programs, or "
                "build a new cache with --rows."
            )

    return check


def load_pixels(item: Item, recipe: Recipe, channels: int) -> Tensor:
    """The pixels of an item in [-1, 1], float32: (channels, H, W) of its bucket, of a clip (channels, T, H, W).

    Raises as `read_pixels` does.
    """
    if recipe.frames:
        return clips.load(item, recipe, channels)
    image = read_pixels(item.source, recipe.srgb)
    if (image.shape[1], image.shape[0]) != item.record.original:
        raise BadPixels("it has another size than its header says, or was changed since the job began")
    if not bool(image.isfinite().all()):
        raise BadPixels("it has values that are not finite")
    fitted = fitting.fit(image, item.record, recipe.filter)
    found, _ = convert_channels(fitted.movedim(-1, 0)[None], channels, recipe.alpha, recipe.background)
    return to_pixel_range(found)[0]


def split(posterior: Posterior, recipe: Recipe, keys: Sequence[str]) -> list[dict[str, Tensor]]:
    """The tensors to store of each item; `keys` are those of the first items of the batch."""
    if recipe.posterior == MEAN:
        return [{"mean": one} for one, _ in zip(posterior.mode(), keys, strict=False)]
    mean, logvar = posterior.latent_moments()
    both = list(zip(mean, logvar, keys, strict=False))
    if recipe.posterior == BOTH:
        return [{"mean": m, "logvar": v} for m, v, _ in both]
    return [{"latent": draw(m, v, recipe.seed, key)} for m, v, key in both]


def draw(mean: Tensor, logvar: Tensor, seed: int, key: str) -> Tensor:
    """A sample, (C, ..., h, w) as the mean. The noise, drawn on the CPU, depends on seed and key alone."""
    number = int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8], "big") >> 1
    noise = torch.randn(mean.shape, generator=Generator().manual_seed(number))
    return mean + (logvar / 2).exp() * noise.to(mean)


def demand_posterior(vae: VAE, recipe: Recipe) -> None:
    """Raises BadRequest if a posterior is asked of a VAE that has none."""
    if recipe.posterior != MEAN and not vae.network.gaussian:
        raise BadRequest(f"'{vae.name}' has no posterior, its latent is a point: choose --posterior mean.")
