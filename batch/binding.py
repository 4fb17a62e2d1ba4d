"""What binds a run: the VAE and the recipe, as job.json and the shards say what they were made with."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from ..vae_core import VAE, BadRequest
from ..vae_core.errors import some
from .recipe import STORED, TENSORS, Recipe, upgrade
from .records import Item, Record
from .shards import Contents, Job, open_shard
from .store import Store

WORDS = "before", "now"
_COMPARED = tuple(one.name for one in fields(Record) if one.name != "path")  # a source may be renamed


def describe(vae: VAE, recipe: Recipe) -> dict[str, Any]:
    """The part of a job that its shards have, too: all that decides their numbers but the images."""
    dtype = str(vae.dtype).removeprefix("torch.")
    facts = {"fingerprint": vae.fingerprint, "family": vae.family, "latent_space": vae.latent_space, "dtype": dtype}
    return {"vae": facts, "recipe": recipe.to_dict()}


def list_differences(before: Job, now: Job, words: tuple[str, str] = WORDS) -> list[str]:
    """Of all that `now` says of its VAE and recipe: what was otherwise before."""
    before, now = _complete(before), _complete(now)
    return [
        f"{name}: {before[part].get(name)} {words[0]}, {value} {words[1]}"
        for part in ("vae", "recipe")
        for name, value in now[part].items()
        if before[part].get(name) != value
    ]


def _complete(job: Job) -> dict[str, Any]:
    """The job as it would be written now: with what a cache of an earlier version did not have."""
    return {**job, "recipe": upgrade({**Recipe().to_dict(), **job["recipe"]})}


def demand_same(store: Store, now: Job) -> None:
    """Raises BadRequest if the folder holds a cache of another VAE or recipe."""
    different = list_differences(store.job, now) if store.is_bound else []
    if different:
        raise BadRequest(
            f"'{store.folder}' holds a cache that was made otherwise ({some(different)}): give the options it was made "
            "with, or another folder."
        )


def demand_same_shards(store: Store, kept: Mapping[str, Contents], items: Iterable[Item], now: Job) -> None:
    """Raises BadRequest if a shard is of another VAE or recipe: job.json may be lost, or not be its own."""
    planned = {item.record.key: item.record for item in items}
    for name, contents in sorted(kept.items()):
        different = _compare_job(store, name, contents, now) or list(_compare_records(contents, planned))
        if different:
            raise BadRequest(
                f"'{store.shards / name}' was made otherwise ({some(different)}): give the options it was made with, "
                "or another folder; or remove it, and its latents are made anew."
            )


def _compare_job(store: Store, name: str, contents: Contents, now: Job) -> list[str]:
    fingerprint = now["vae"]["fingerprint"]
    if contents.vae != fingerprint:
        return [f"fingerprint: {contents.vae} before, {fingerprint} now"]
    if contents.job:
        return list_differences(contents.job, now)
    return [] if store.job else list(_compare_tensors(store, name, contents, now["recipe"]))


def _compare_tensors(store: Store, name: str, contents: Contents, recipe: Mapping[str, Any]) -> Iterator[str]:
    """For shards of earlier versions, which do not have the recipe: what its tensors tell of it."""
    with open_shard(store.shards / name) as file:
        for entry in contents.entries[:1]:
            parts = (one.rpartition(".") for one in file.keys())  # noqa: SIM118
            there = {kind: file.get_tensor(f"{key}.{kind}").dtype for key, _, kind in parts if key == entry.record.key}
            wanted = dict.fromkeys(TENSORS[recipe["posterior"]], STORED[recipe["stored"]])
            if there != wanted:
                yield f"tensors: {_name(there)} before, {_name(wanted)} now"


def _name(tensors: Mapping[str, Any]) -> str:
    return " and ".join(f"{name} in {str(dtype).removeprefix('torch.')}" for name, dtype in sorted(tensors.items()))


def _compare_records(contents: Contents, planned: Mapping[str, Record]) -> Iterator[str]:
    for entry in contents.entries:
        if entry.record.key in planned:
            yield from compare_records(entry.record, planned[entry.record.key])


def compare_records(before: Record, now: Record, words: tuple[str, str] = WORDS) -> Iterator[str]:
    """What is otherwise but the path."""
    for name in _COMPARED:
        values = getattr(before, name), getattr(now, name)
        if values[0] != values[1]:
            yield f"{name} of '{now.path}': {values[0]} {words[0]}, {values[1]} {words[1]}"
