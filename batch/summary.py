"""What a cache is, from its index and job.json alone: no tensor is read."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .records import Skipped, name_shape
from .store import Store

_NAMES = re.compile(r"'[^']*'")


@dataclass(frozen=True)
class Summary:
    """What `exact-vae cache info` tells.

    vae      fingerprint, family, latent_space, dtype, name, title, as job.json has them
    recipe   how images became latents
    images   that have latents
    flipped  latents of mirrored images
    crops    latents of crops beside the centre
    buckets  latents of each, by 'WIDTHxHEIGHT', of clips 'WIDTHxHEIGHTxFRAMES'
    shapes   of the latents of each bucket
    bytes    of all shards
    missing  images that have no latent yet
    skipped  sources without a latent, by the reason
    """

    vae: dict[str, Any]
    recipe: dict[str, Any]
    convention: str
    version: str
    source: str
    latents: int
    images: int
    flipped: int
    crops: int
    captions: int
    buckets: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    shards: int
    bytes: int
    missing: int
    skipped: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(store: Store) -> Summary:
    """Raises BadRequest if there is no cache, or if one of its lists is broken."""
    job, rows, skipped = store.demand().job, list(store.read_rows()), store.read_skipped()
    records = [row.record for row in rows]
    buckets: dict[str, int] = {}
    for shape in sorted(record.shape for record in records):
        buckets[name_shape(shape)] = buckets.get(name_shape(shape), 0) + 1
    names = store.list_shards()
    return Summary(
        vae=job["vae"],
        recipe=job["recipe"],
        convention=job.get("convention", "raw"),
        version=job.get("version", "unknown"),
        source=job.get("source", "unknown"),
        latents=len(rows),
        images=len({record.id for record in records}),
        flipped=sum(record.flip for record in records),
        crops=sum(record.number > 0 for record in records),
        captions=sum(row.caption is not None for row in rows),
        buckets=buckets,
        shapes={name_shape(row.record.shape): row.entry.shape for row in rows},
        shards=len(names),
        bytes=sum((store.shards / name).stat().st_size for name in names),
        missing=len(list_missing(store, {record.id for record in records}, skipped)),
        skipped=count_reasons(skipped),
    )


def list_missing(store: Store, there: set[str], skipped: Iterable[Skipped]) -> list[str]:
    """Paths of the images without a latent that were not skipped: the run was stopped. there: ids with a latent."""
    skipped_ids = {one.id for one in skipped}
    return [path for path, image in store.read_images().items() if image.id not in there | skipped_ids]


def count_reasons(skipped: Iterable[Skipped]) -> dict[str, int]:
    """How many sources were skipped for each reason, most first. What differs from file to file is left out."""
    found: dict[str, int] = {}
    for one in skipped:
        reason = _NAMES.sub("another", one.reason).partition(": ")[0]
        reason += " (tried again by the next run)" if one.again else ""
        found[reason] = found.get(reason, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
