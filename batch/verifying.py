"""Is a cache as it was made, and are its images those it was made of?"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..vae_core import BadRequest
from ..vae_core.errors import some
from .binding import compare_records, list_differences
from .mishaps import explain
from .reading import digest as digest_file
from .reading import open_file
from .recipe import STORED, TENSORS
from .records import Image
from .shards import Contents, Entry, digest, open_shard, read_tensors
from .statistics import Statistics, demand_space
from .store import SOURCES, Row, Store
from .summary import list_missing
from .watching import ignore

OnChecked = Callable[[int, int], None]  # (shards and images that were checked, all of them)


@dataclass(frozen=True)
class Problem:
    """Something wrong. where: a shard, a source, or the cache."""

    where: str
    what: str


@dataclass
class Findings:
    """What verify found. statistics: of the latents, normalised if their space is known."""

    problems: list[Problem] = field(default_factory=list)
    latents: int = 0
    shards: int = 0
    sources: int = 0
    unused: int = 0  # latents of images that are gone, which no line of the index names
    statistics: Statistics = field(default_factory=Statistics)

    def note(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

    def to_dict(self) -> dict[str, Any]:
        of = self.statistics
        numbers = {"space": of.space, "mean": of.mean, "std": of.std, "spread": of.spread}
        counts = {"latents": self.latents, "shards": self.shards, "sources": self.sources, "unused": self.unused}
        return {"problems": [vars(one) for one in self.problems], **counts, "statistics": numbers}


def verify(store: Store, space: str | None = None, progress: OnChecked = ignore) -> Findings:
    """Check shards, latents, index and sources against one another.

    space  whose latents they are, a key of SPACES, if the VAE does not tell
    Raises BadRequest if there is no cache, or if job.json or a list is broken. All else that is wrong is in the result.
    """
    job = store.demand().job
    rows, images, shards = list(store.read_rows()), store.read_images(), store.list_shards()
    found = Findings(shards=len(shards), sources=len(images))
    found.statistics.space = _choose_space(job, rows, space)
    kept: dict[tuple[str, str], Entry] = {}
    for number, name in enumerate(shards):
        kept |= {(name, entry.record.key): entry for entry in _check_shard(store, name, found)}
        progress(number + 1, len(shards) + len(images))
    _check_index(rows, kept, found)
    for number, image in enumerate(images.values()):
        _check_source(image, found)
        progress(len(shards) + number + 1, len(shards) + len(images))
    if rows and not store.has_images:
        found.note(SOURCES, "it is missing, so no image was looked at: the command that made the cache makes it anew")
    missing = list_missing(store, {row.record.id for row in rows}, store.read_skipped())
    for path in missing:
        found.note(path, "it has no latent yet: the command that began the cache goes on")
    for what in found.statistics.judge():
        found.note("statistics", what)
    return found


def _choose_space(job: Mapping[str, Any], rows: list[Row], space: str | None) -> str | None:
    name = space or job["vae"].get("latent_space")
    return demand_space(name, rows[0].entry.shape[0]) if rows else name


def names_of(job: Mapping[str, Any]) -> tuple[str, ...]:
    """The tensors of each latent. Raises BadRequest for a posterior that is not known."""
    said = job["recipe"].get("posterior")
    if said not in TENSORS:
        raise BadRequest(f"job.json has the posterior '{said}', which is none of {', '.join(TENSORS)}.")
    return TENSORS[said]


def _check_shard(store: Store, name: str, found: Findings) -> tuple[Entry, ...]:
    """Its latents, which were checked; none if it is broken."""
    try:
        contents = store.read(name)
        _check_contents(store, name, contents, found)
        return contents.entries
    except BadRequest as error:
        found.note(name, str(error))
        return ()


def _check_contents(store: Store, name: str, contents: Contents, found: Findings) -> None:
    made_by = store.job["vae"].get("fingerprint")
    if contents.vae != made_by:
        found.note(name, f"another VAE made it: {contents.vae}, and the cache is of {made_by}")
    elif contents.job and (different := list_differences(store.job, contents.job, ("in job.json", "here"))):
        found.note(name, f"it was made otherwise than job.json says ({some(different)})")
    names, dtype = names_of(store.job), STORED.get(store.job["recipe"].get("stored"))
    with open_shard(store.shards / name) as file:
        there = set(file.keys())
        for entry in contents.entries:
            lost = [one for one in names if f"{entry.record.key}.{one}" not in there]
            if lost:
                found.note(name, f"the latent of '{entry.record.path}' has no {' and no '.join(lost)}")
                continue
            _check_size(name, entry, store.job["vae"].get("spatial_ratio"), found)
            _check_latent(name, entry, read_tensors(file, entry.record.key, names), dtype, found)


def _check_size(name: str, entry: Entry, ratio: int | None, found: Findings) -> None:
    """Is it a latent of its bucket? ratio: of the VAE; a cache of an earlier version does not have it."""
    if ratio is None:
        return
    width, height = entry.record.bucket
    expected = -(-height // ratio), -(-width // ratio)
    if entry.shape[-2:] != expected:
        what = f"has the shape {entry.shape}, and its bucket of {width}x{height} pixels gives {expected}"
        found.note(name, f"the latent of '{entry.record.path}' {what}")


def _check_latent(
    name: str, entry: Entry, tensors: Mapping[str, Tensor], dtype: torch.dtype | None, found: Findings
) -> None:
    found.latents += 1
    wrong = list(_judge(entry, tensors, dtype))
    for what in wrong:
        found.note(name, f"the latent of '{entry.record.path}' {what}")
    if not wrong:
        found.statistics.add(next(iter(tensors.values())))


def _judge(entry: Entry, tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> Iterator[str]:
    for tensor in tensors.values():
        if tuple(tensor.shape) != entry.shape:
            yield f"has the shape {tuple(tensor.shape)}, and {entry.shape} was written"
        if tensor.dtype != dtype:
            yield f"is of {str(tensor.dtype).removeprefix('torch.')}, not as the recipe says"
        if not bool(tensor.isfinite().all()):
            yield "is not finite"
    if digest(tensors) != entry.digest:
        yield "has other bits than were written"


def _check_index(rows: Iterable[Row], kept: dict[tuple[str, str], Entry], found: Findings) -> None:
    named = set()
    for row in rows:
        entry = kept.get((row.shard, row.record.key))
        named.add((row.shard, row.record.key))
        if entry is None:
            found.note("index", f"the latent of '{row.record.path}' is not in '{row.shard}': run the build again")
        elif (entry.shape, entry.digest) != (row.entry.shape, row.entry.digest):
            found.note(
                "index", f"the latent of '{row.record.path}' is not the one in '{row.shard}': run the build again"
            )
        elif different := list(compare_records(row.record, entry.record, ("in the index", f"in '{row.shard}'"))):
            found.note("index", f"the latent is another one ({some(different)}): remove the shard and build again")
    found.unused = len(kept.keys() - named)


def _check_source(image: Image, found: Findings) -> None:
    """Read again, so that a change is seen that kept size and time."""
    try:
        with open_file(image.source) as path:
            if digest_file(path) != image.id:
                found.note(image.source.path, "it was changed since it was encoded: build with --update")
    except FileNotFoundError:
        found.note(image.source.path, f"it is gone: there is no file '{image.source.file}'")
    except (BadRequest, OSError) as error:
        found.note(image.source.path, f"it cannot be read: {explain(error)}")
