"""Some images encoded anew, and their latents decoded: is this the VAE, and are these the images?"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..vae_core import VAE, BadRequest
from ..vae_core.images import psnr, to_unit_range
from .encoding import Result, agree, load_pixels, read_plans
from .recipe import Recipe
from .records import Item, Skipped
from .shards import digest, open_shard, read_tensors
from .store import Row, Store
from .verifying import Findings, names_of
from .workers import encode_here

# How far a latent encoded anew may be off, relative to its spread: another device or version of torch rounds otherwise.
CLOSE = {torch.float64: 1e-3, torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True)
class Sample:
    """An image of the cache.

    error    root of the mean square of (new - stored), relative to the stored one's spread; 0 for equal bits
    psnr     of the stored latent decoded, against the image, in dB
    image    (3, H, W) in [0, 1], as it was encoded
    decoded  (3, H, W) in [0, 1]
    """

    path: str
    error: float
    psnr: float
    image: Tensor
    decoded: Tensor

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "error": self.error, "psnr": self.psnr}


def compare(store: Store, vae: VAE, count: int, found: Findings) -> Iterator[Sample]:
    """Encode and decode `count` latents of the cache; what is wrong is noted in `found`.

    Which ones depends on the cache alone. Raises BadRequest if it is another VAE, DoesNotFit.
    """
    demand_vae(store, vae)
    recipe, images = Recipe.from_dict(store.job["recipe"]), store.read_images()
    rows = choose(list(store.read_rows()), count)
    rows = [row for row in rows if row.record.path in images and images[row.record.path].id == row.record.id]
    items = [Item(row.record, images[row.record.path].source) for row in rows]
    plans = read_plans(store.job)
    plans |= agree(vae, recipe, {item.record.shape for item in items} - plans.keys())  # if job.json was lost once
    results = encode_here(vae, recipe, plans, ([item] for item in items))
    for row, item, (new, *_) in zip(rows, items, results, strict=True):
        try:
            error, latent = _compare_row(store, row, new, CLOSE[vae.dtype], found)
        except BadRequest as mistake:
            found.note(row.record.path, str(mistake))
            continue
        image = to_unit_range(load_pixels(item, recipe, vae.in_channels)[None])
        image = image[:, :, 0] if image.ndim == 5 else image
        yield make_sample(row.record.path, image, latent[None], vae, error)


def _compare_row(store: Store, row: Row, new: Result, limit: float, found: Findings) -> tuple[float, Tensor]:
    """The error of a stored latent, and its numbers. Raises BadRequest if there is nothing to compare."""
    if isinstance(new, Skipped):
        raise BadRequest(f"it cannot be encoded again: {new.reason}")
    stored = read_row(store, row)
    for name, one in stored.items():
        shape = tuple(new.tensors[name].shape)
        if one.shape != shape:
            raise BadRequest(f"encoded again its latent has the shape {shape}, and {tuple(one.shape)} is stored")
    error = max(measure_error(new.tensors[name], one) for name, one in stored.items())
    if not error <= limit:
        found.note(row.record.path, f"encoded again its latent is off by {error:.2g} of its spread, over {limit:g}")
    return error, next(iter(stored.values()))


def demand_vae(store: Store, vae: VAE) -> None:
    """Raises BadRequest if the cache is of another VAE."""
    made_by = store.job["vae"]
    if made_by.get("fingerprint") != vae.fingerprint:
        raise BadRequest(
            f"'{store.folder}' was made by another VAE: '{made_by.get('name')}' ({made_by.get('fingerprint')}), not "
            f"'{vae.name}' ({vae.fingerprint})."
        )


def choose(rows: Sequence[Row], count: int) -> list[Row]:
    """So many rows, in the order of the index: the same of the same cache."""
    drawn = sorted(range(len(rows)), key=lambda i: hashlib.sha256(rows[i].record.key.encode()).digest())[:count]
    return [rows[i] for i in sorted(drawn)]


def read_row(store: Store, row: Row) -> dict[str, Tensor]:
    """The tensors of a latent by their names, each (C, ..., h, w). Raises BadRequest if the shard is broken."""
    with open_shard(store.shards / row.shard) as file:
        return read_tensors(file, row.record.key, names_of(store.job))


def read_sound_row(store: Store, row: Row) -> dict[str, Tensor]:
    """As `read_row`, of the bits that were written. Raises BadRequest for any others."""
    tensors = read_row(store, row)
    if digest(tensors) != row.entry.digest:
        raise BadRequest(
            f"the latent of '{row.record.path}' has other bits than were written: delete "
            f"'{store.shards / row.shard}' and build the cache again."
        )
    return tensors


def measure_error(new: Tensor, stored: Tensor) -> float:
    """Root of the mean square of the difference, relative to the spread of `stored`; 0 for equal bits."""
    if torch.equal(new, stored):
        return 0.0
    difference = (new.double() - stored.double()).square().mean().sqrt()
    return (difference / stored.double().std().clamp_min(1e-6)).item()


def make_sample(path: str, image: Tensor, raw: Tensor, vae: VAE, error: float) -> Sample:
    """A latent decoded, beside its image.

    image  (1, C, H, W) in [0, 1], as it was encoded
    raw    (1, C, h, w), or of clips (1, C, 1, h, w)
    Raises DoesNotFit, LatentMismatch.
    """
    height, width = image.shape[-2:]
    pixels = vae.decode(raw.to(vae.device, vae.dtype), size=(height, width)).float().cpu()
    decoded = to_unit_range(pixels[:, :, 0] if pixels.ndim == 5 else pixels).clamp(0, 1)
    channels = min(image.shape[1], decoded.shape[1], 3)
    image, decoded = image[:, :channels], decoded[:, :channels]
    return Sample(path, error, psnr(image, decoded).item(), image[0], decoded[0])


def draw_sheet(samples: Iterable[Sample], side: int = 256, columns: int = 8) -> Tensor:
    """A contact sheet (3, H, W) in [0, 1]: each image above what its latent gives, reduced to squares of this side."""
    pairs = [torch.cat([_shrink(one.image, side), _shrink(one.decoded, side)], 1) for one in samples]
    columns = min(columns, len(pairs))
    pairs += [torch.ones_like(pairs[0])] * (-len(pairs) % columns)
    return torch.cat([torch.cat(pairs[at : at + columns], 2) for at in range(0, len(pairs), columns)], 1)


def _shrink(image: Tensor, side: int) -> Tensor:
    """(1 or 3, H, W) -> (3, side, side): reduced if it is larger, in the middle of grey."""
    height, width = image.shape[1:]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = torch.nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    sheet = torch.full((3, side, side), 0.5)
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    sheet[:, top : top + size[0], left : left + size[1]] = small.clamp(0, 1)
    return sheet
