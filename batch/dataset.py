"""A cache as torch's data loaders read it: a data set of latents, and a sampler of batches of one size."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..vae_core import BadRequest, convert
from ..vae_core.latents import CONVENTIONS, RAW, get_space
from .encoding import draw
from .places import is_remote, parse_place
from .recipe import BOTH, MEAN
from .shards import map_shard
from .statistics import demand_space
from .store import Row, Store
from .verifying import names_of


class Example(TypedDict):
    """latent (C, ..., h, w); caption '' if there is none; size (W, H) of the image; crop left, top, right, bottom."""

    latent: Tensor
    caption: str
    path: str
    size: Tensor
    crop: Tensor


def _demand_here(folder: Path) -> Path:
    if is_remote(folder):
        raise BadRequest(f"'{folder}' is in a store, and training maps shards into memory: copy it to this machine.")
    return folder


class LatentDataset(Dataset[Example]):
    """The latents of a cache, in the order of its index. Shards are mapped: memory holds what is being read.

    folder      of the cache
    sample      draw each latent from its mean and logvar, another one in each epoch; else the mean, or what is stored
    seed        of these draws: seed, epoch and image decide them, not the worker or the order
    convention  'raw', 'scaled' or 'normalised': what a diffusion model sees is scaled
    space       whose latents they are, a key of SPACES, if the VAE's file does not tell
    Raises BadRequest if there is no cache, no posterior to sample from, or no space to scale for.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        sample: bool = False,
        seed: int = 0,
        convention: str = RAW,
        space: str | None = None,
    ):
        self.store = Store(_demand_here(parse_place(str(folder)))).demand()
        self.rows: list[Row] = list(self.store.read_rows())
        self.names, self.sample, self.seed, self.convention = names_of(self.store.job), sample, seed, convention
        self.space = self._demand_space(space)
        if sample and len(self.names) < 2:
            raise BadRequest(f"'{folder}' has no posterior to sample from: build it with --posterior {BOTH}.")
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that stay see the next epoch, too
        self._open: dict[str, Any] = {}

    def _demand_space(self, space: str | None) -> str | None:
        if self.convention not in CONVENTIONS:
            raise BadRequest(f"a latent is not '{self.convention}': choose one of {', '.join(CONVENTIONS)}.")
        name = space or self.store.job["vae"].get("latent_space")
        if self.convention != RAW and name is None:
            raise BadRequest("the VAE's file does not tell whose latents these are: give space='sdxl', or another one.")
        return demand_space(name, self.rows[0].entry.shape[0]) if self.rows else name

    def set_epoch(self, epoch: int) -> None:
        """Draw other samples from now on, also in workers that are running."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        row = self.rows[index]
        return {
            "latent": self._read(row),
            "caption": row.caption or "",
            "path": row.record.path,
            "size": torch.tensor(row.record.original),
            "crop": torch.tensor(row.record.crop),
        }

    def __getstate__(self) -> dict[str, Any]:
        """For workers, which open the shards themselves."""
        return {**self.__dict__, "_open": {}}

    def _read(self, row: Row) -> Tensor:
        stored = {name: self._shard(row.shard).get_tensor(f"{row.record.key}.{name}") for name in self.names}
        latent = stored[self.names[0]]
        if self.sample:
            key = f"{int(self._epoch)}/{row.record.key}"
            latent = draw(stored[MEAN].float(), stored["logvar"].float(), self.seed, key).to(latent.dtype)
        if self.convention == RAW or self.space is None:
            return latent
        return convert(latent[None], get_space(self.space), RAW, self.convention)[0].to(latent.dtype)

    def _shard(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = map_shard(self.store.shards / name)
        return self._open[name]


class BucketSampler(Sampler[list[int]]):
    """Batches of latents of one shape, for `DataLoader(batch_sampler=)`: shuffled in each bucket, then among them.

    batch      latents of a batch; the last of a bucket may have fewer
    seed       with the epoch it decides the order
    drop_last  leave out batches that have fewer
    rank, ranks  of processes that train together: each gets as many batches, for which the first may come twice
    Raises BadRequest for numbers that cannot be.
    """

    def __init__(
        self,
        dataset: LatentDataset,
        batch: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ):
        if batch < 1 or not 0 <= rank < ranks:
            raise BadRequest(f"a batch of {batch} for process {rank} of {ranks} cannot be: rank counts from 0.")
        self.batch, self.seed, self.shuffle, self.drop_last = batch, seed, shuffle, drop_last
        self.rank, self.ranks, self.epoch = rank, ranks, 0
        self._buckets: dict[tuple[int, ...], list[int]] = {}
        for index, row in enumerate(dataset.rows):
            self._buckets.setdefault(row.entry.shape, []).append(index)

    def set_epoch(self, epoch: int) -> None:
        """Another order from the next iteration on."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole = sum(len(inside) // self.batch for inside in self._buckets.values())
        parts = 0 if self.drop_last else sum(len(inside) % self.batch > 0 for inside in self._buckets.values())
        return -(-(whole + parts) // self.ranks)

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._cut()
        batches += [batches[i % len(batches)] for i in range(-len(batches) % self.ranks)]
        yield from batches[self.rank :: self.ranks]

    def _cut(self) -> list[list[int]]:
        drawn = hashlib.sha256(f"{self.seed}/{self.epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(drawn[:8], "big") >> 1)
        found = []
        for inside in self._buckets.values():
            order = [inside[i] for i in torch.randperm(len(inside), generator=generator)] if self.shuffle else inside
            found += [order[at : at + self.batch] for at in range(0, len(order), self.batch)]
        if self.drop_last:
            found = [one for one in found if len(one) == self.batch]
        return [found[i] for i in torch.randperm(len(found), generator=generator)] if self.shuffle else found
