"""The files of latents: safetensors, with all that is known of each latent in the header.

A tensor is named '<key>.mean', '<key>.logvar' or '<key>.latent' (a sample), without a dimension for the batch. The
header's metadata has one entry, for safetensors keeps several in no order, and equal shards shall be equal files.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..vae_core import BadRequest
from ..vae_core.files import write_tensors
from .places import bring_here, demand_file, explain_reading, is_remote, read_metadata, write_whole
from .records import Record, Skipped

HEADER = "exact_vae_cache"
Job = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Latent:
    """A record with its tensors: 'mean', and 'logvar' if both are kept; or 'latent', a sample. Each (C, ..., h, w)."""

    record: Record
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Entry:
    """A record as a shard has it. digest: of all its tensors. shape: of each."""

    record: Record
    shape: tuple[int, ...]
    digest: str


@dataclass(frozen=True)
class Contents:
    """What a shard holds, by its header.

    vae  fingerprint of the VAE that made it
    job  the VAE and the recipe that made it, as `binding.describe` gives them; of an earlier version nothing
    """

    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]
    vae: str
    job: Job | None = None


def write_shard(
    path: Path, latents: Sequence[Latent], skipped: Sequence[Skipped], vae: str, job: Job | None = None
) -> Contents:
    """Write a shard: whole or not at all, and on the disk when this returns. Raises BadRequest if it cannot be."""
    contents = _describe(latents, skipped, vae, job)
    with write_whole(path) as part:
        with part.open("wb") as file:
            write_tensors(file, _name_tensors(latents), _to_metadata(contents))
        sync(part)
    return contents


def pack_shard(latents: Sequence[Latent], skipped: Sequence[Skipped], vae: str, job: Job | None = None) -> bytes:
    """The bytes of such a file."""
    return save(_name_tensors(latents), metadata=_to_metadata(_describe(latents, skipped, vae, job)))


def read_shard(path: Path) -> tuple[list[Latent], Contents]:
    """All of a shard. Raises BadRequest for a file that is none, or is broken."""
    contents = read_contents(path)
    with open_shard(path) as file:
        names: dict[str, dict[str, Tensor]] = {}
        for name in file.keys():  # noqa: SIM118
            key, _, kind = name.rpartition(".")
            names.setdefault(key, {})[kind] = file.get_tensor(name)
        return [Latent(one.record, names[one.record.key]) for one in contents.entries], contents


def _describe(latents: Sequence[Latent], skipped: Sequence[Skipped], vae: str, job: Job | None) -> Contents:
    entries = tuple(Entry(one.record, _shape(one), digest(one.tensors)) for one in latents)
    return Contents(entries, tuple(skipped), vae, job)


def _name_tensors(latents: Sequence[Latent]) -> dict[str, Tensor]:
    return {f"{one.record.key}.{name}": t for one in latents for name, t in one.tensors.items()}


def _to_metadata(contents: Contents) -> dict[str, str]:
    return {HEADER: json.dumps(_to_dict(contents), ensure_ascii=False)}


def sync(path: Path) -> None:
    """Have what was written to this file on the disk, before it gets its name."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _shape(latent: Latent) -> tuple[int, ...]:
    return tuple(next(iter(latent.tensors.values())).shape)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits of the bits of all tensors."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().view(torch.uint8).numpy().data if tensor.numel() else b"")
    return found.hexdigest()[:16]


def _to_dict(contents: Contents) -> dict[str, Any]:
    records = [{**one.record.to_dict(), "shape": one.shape, "digest": one.digest} for one in contents.entries]
    job = {"job": contents.job} if contents.job else {}
    return {"vae": contents.vae, "records": records, "skipped": [asdict(one) for one in contents.skipped], **job}


def read_contents(path: Path) -> Contents:
    """What a shard holds; no tensor is read. Raises BadRequest for a file that is none, or is broken."""
    try:
        found = json.loads(_read_metadata(path)[HEADER])
        entries = [Entry(Record.from_dict(d), tuple(d["shape"]), d["digest"]) for d in found["records"]]
        skipped = [Skipped(**d) for d in found["skipped"]]
        job = {part: dict(found["job"][part]) for part in ("vae", "recipe")} if "job" in found else None
        return Contents(tuple(entries), tuple(skipped), found["vae"], job)
    except (KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"'{path}' is no shard of a cache: its header has no records.") from error


def _read_metadata(path: Path) -> dict[str, str]:
    if is_remote(path):
        return read_metadata(path)
    with open_shard(path) as file:
        return file.metadata() or {}


@contextmanager
def open_shard(path: Path) -> Iterator[Any]:
    """The file, mapped; of a store, a copy. Raises BadRequest if it is broken."""
    try:
        with ExitStack() as stack:
            with explain_reading(path):
                here = stack.enter_context(bring_here(path))
            yield stack.enter_context(map_shard(here))
    except (SafetensorError, OSError) as error:
        raise _explain(path, error) from error


def map_shard(path: Path) -> Any:
    """The file, mapped for as long as this lives. Raises BadRequest if it is broken."""
    try:
        return safe_open(demand_file(path), "pt")
    except (SafetensorError, OSError) as error:
        raise _explain(path, error) from error


def _explain(path: Path, error: Exception) -> BadRequest:
    return BadRequest(f"'{path}' is a broken shard: {error}. Remove it; the next run makes it anew.")


def read_tensors(file: Any, key: str, names: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of a key in an open shard, by their names without it, each (C, ..., h, w)."""
    return {name: file.get_tensor(f"{key}.{name}") for name in names}
