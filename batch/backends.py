"""Who does the work of a job: this machine here; a cluster in the package `cluster`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol

from ..vae_core import VAE
from .binding import describe
from .encoding import Agreed, Batch, Loading, Result, agree
from .planning import Shard, cut_batches, look_here
from .recipe import Recipe
from .records import Image, Shape, Skipped, Source
from .shards import Contents, Latent, write_shard
from .store import Store
from .workers import Worker, encode_here, encode_in_processes

OnMade = Callable[[int, int], None]  # (latents, broken images) that this run has made and found


class Work(NamedTuple):
    """Shards to make. loading: the VAE with its dtype settled, for other processes."""

    loading: Loading
    vae: VAE
    recipe: Recipe
    plans: Mapping[Shape, Agreed]
    shards: Sequence[Shard]
    store: Store


class Backend(Protocol):
    """Who looks at images and encodes them. Whoever it is, the shards have the same bits."""

    @property
    def device(self) -> str:
        """The device of the encoders, for job.json."""
        ...

    def load(self, loading: Loading) -> VAE:
        """The VAE in this process, as the encoders have it: by its facts the job is planned."""
        ...

    def look(self, sources: Iterable[Source | Skipped], known: Mapping[str, Image]) -> Iterator[Image | Skipped]:
        """`planning.look_at` of each, in their order."""
        ...

    def agree(self, vae: VAE, recipe: Recipe, shapes: Sequence[Shape]) -> dict[Shape, Agreed]:
        """How each shape is run by every encoder. Raises DoesNotFit."""
        ...

    def make_shards(self, work: Work, progress: OnMade) -> Iterator[tuple[str, Contents]]:
        """Write the shards, in any order, and give the name of each with what it holds."""
        ...


@dataclass(frozen=True)
class Local:
    """This machine. devices: one, and this process encodes; several, and a process for each does."""

    devices: tuple[str, ...] = ("cpu",)

    @property
    def device(self) -> str:
        return self.devices[0]

    def load(self, loading: Loading) -> VAE:
        return loading.load(self.device)

    def look(self, sources: Iterable[Source | Skipped], known: Mapping[str, Image]) -> Iterator[Image | Skipped]:
        return look_here(sources, known)

    def agree(self, vae: VAE, recipe: Recipe, shapes: Sequence[Shape]) -> dict[Shape, Agreed]:
        return agree(vae, recipe, shapes)

    def make_shards(self, work: Work, progress: OnMade) -> Iterator[tuple[str, Contents]]:
        results = self._run(work, chain.from_iterable(cut_batches(one, work.recipe.batch) for one in work.shards))
        done, skipped = 0, 0
        for shard in work.shards:
            latents: list[Latent] = []
            broken: list[Skipped] = []
            while len(latents) + len(broken) < len(shard.items):
                found = next(results)
                latents += [one for one in found if isinstance(one, Latent)]
                broken += [one for one in found if isinstance(one, Skipped)]
                progress(done + len(latents), skipped + len(broken))
            path, job = work.store.shards / shard.name, describe(work.vae, work.recipe)
            yield shard.name, write_shard(path, latents, broken, work.vae.fingerprint, job)
            done, skipped = done + len(latents), skipped + len(broken)

    def _run(self, work: Work, batches: Iterable[Batch]) -> Iterator[list[Result]]:
        if len(self.devices) == 1:
            return encode_here(work.vae, work.recipe, work.plans, batches)
        workers = [Worker(work.loading, one, work.recipe, work.plans) for one in self.devices]
        return encode_in_processes(workers, batches)
