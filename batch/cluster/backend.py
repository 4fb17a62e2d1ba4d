"""A job from the machine where its command was given."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...vae_core import VAE, VAEError
from ..backends import OnMade, Work
from ..binding import describe
from ..encoding import Agreed, Loading
from ..limits import READERS
from ..planning import recall
from ..recipe import Recipe
from ..records import Image, Shape, Skipped, Source
from ..shards import Contents
from .connecting import explain_errors
from .machines import Kind
from .pieces import PIECE, Piece, Receipt, Tally, cut_pieces, find_made, forget, forget_tries
from .pipeline import (
    Chunk,
    PieceEncoder,
    PieceSink,
    Reader,
    Setup,
    agree_there,
    join_there,
    know_machine,
)
from .waiting import LONG, remark, remark_on_each

CHUNK = 64  # sources that a task looks at
MOST_BLOCKS = 20_000  # of rows: each costs the driver some ms
MOST_READERS = 16  # beside a GPU, each with a processor: an image of 3 MP takes one for about 0.4 s
SHOWN = f"for {LONG / 60:.0f} minutes; it goes on waiting, and `ray status` shows what the cluster has and is asked for"
JOINS = 4  # shards that are joined at once, each by a process with room for one


@dataclass
class RayBackend:
    """A cluster. Reads sources by tasks, encodes in a pool of actors, each with a VAE.

    ray       the module, connected
    device    of an encoder: 'cpu' or 'cuda'
    places    that all machines must see
    encoders  the most; None: as many as the cluster has room for, and gets
    piece     images that an encoder takes at once, about
    """

    ray: Any
    device: str
    places: tuple[Path, ...]
    encoders: int | None = None
    piece: int = PIECE
    _loading: Loading = field(default_factory=Loading, init=False)
    _kind: Kind | None = field(default=None, init=False)

    def load(self, loading: Loading) -> VAE:
        files = tuple(file.absolute() for file in loading.files)
        self._loading = replace(loading, files=files)
        self._kind, dtype = self._ask(know_machine, self.device, self._loading)
        self._loading = replace(self._loading, dtype=dtype)
        return self._loading.load("cpu")

    def look(self, sources: Iterable[Source | Skipped], known: Mapping[str, Image]) -> Iterator[Image | Skipped]:
        looked = [recall(one, known) or one for one in sources]
        new = [(number, one) for number, one in enumerate(looked) if isinstance(one, Source)]
        chunks = [Chunk(at, tuple(source for _, source in new[at : at + CHUNK])) for at in range(0, len(new), CHUNK)]
        for chunk in self._look_there(chunks):
            for number, found in enumerate(chunk.inside, chunk.number):
                looked[new[number][0]] = found
        yield from (one for one in looked if not isinstance(one, Source))

    def agree(self, vae: VAE, recipe: Recipe, shapes: Sequence[Shape]) -> dict[Shape, Agreed]:
        return self._ask(agree_there, self._loading, self.device, recipe, shapes) if shapes else {}

    def make_shards(self, work: Work, progress: OnMade) -> Iterator[tuple[str, Contents]]:
        pieces = [
            piece for shard in work.shards for piece in cut_pieces(shard, work.vae.fingerprint, work.recipe, self.piece)
        ]
        tally, joins = Tally.of(pieces), Joins(self.ray, work, pieces)
        made = list(find_made(work.store, pieces))
        there = {one.name for one in made}
        left = [piece for piece in pieces if piece.name not in there]
        forget_tries(work.store)
        with closing(self._encode(work, left)) as coming, explain_errors(self.ray):
            for receipts in (made, coming):
                for receipt in receipts:
                    if tally.add(receipt):
                        joins.begin(receipt.shard)
                    progress(tally.latents, tally.skipped)
                    yield from joins.take(wait=False)
            yield from joins.take(wait=True)
        if any(tally.missing.values()):
            raise VAEError("the cluster ended without having made all shards; the same command goes on.")
        forget(work.store)

    def _look_there(self, chunks: Sequence[Chunk]) -> Iterator[Chunk]:
        if chunks:
            with explain_errors(self.ray):
                rows = self._begin([{"chunk": chunk} for chunk in chunks])
                rows = rows.map_batches(Reader(self.places), batch_size=1, num_cpus=1)
                yield from (row["chunk"] for row in remark_on_each(rows.iter_rows(), f"no source was read {SHOWN}"))

    def _encode(self, work: Work, pieces: Sequence[Piece]) -> Generator[Receipt, None, None]:
        """Receipts of these pieces as their files get there. What dies on the way, Ray Data does again."""
        if not pieces:
            return
        assert self._kind is not None
        places = (*self.places, work.store.folder)
        readers = self._count_readers()
        setup = Setup(
            self._loading, self.device, work.recipe, work.plans, work.vae.fingerprint, self._kind, places,
            work.store.folder, readers)  # fmt: skip
        rows = self._begin([{"piece": piece} for piece in pieces]).map_batches(
            PieceEncoder,
            fn_constructor_args=(setup,),
            batch_size=1,
            compute=self.ray.data.ActorPoolStrategy(
                min_size=1, max_size=self.encoders, max_tasks_in_flight_per_actor=2
            ),
            **self._resources(readers if self.device != "cpu" else work.recipe.threads),
        )
        writers = self.ray.data.TaskPoolStrategy(max(2, len(self._list_machines())))
        sink = PieceSink(work.store.folder)
        rows = rows.map_batches(sink, batch_size=1, num_cpus=0, compute=writers)
        yield from (row["receipt"] for row in remark_on_each(rows.iter_rows(), f"no piece was written {SHOWN}"))

    def _begin(self, rows: list[dict[str, Any]]) -> Any:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        self.ray.data.DataContext.get_current().enable_progress_bars = False
        return self.ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS))

    def _resources(self, cpus: int) -> dict[str, int]:
        """Of one encoder, or of what is asked of its machine."""
        return {"num_cpus": cpus} if self.device == "cpu" else {"num_cpus": cpus, "num_gpus": 1}

    def _count_readers(self) -> int:
        """Threads that read images beside an encoder; beside a GPU each gets a processor, as far as there are.

        A machine with GPUs is there: `load` has asked one.
        """
        if self.device == "cpu":
            return READERS
        shares = [int(one.get("CPU", 1) // one["GPU"]) for one in self._list_machines() if one.get("GPU")]
        return max(1, min(MOST_READERS, *shares)) if shares else READERS

    def _list_machines(self) -> list[dict[str, float]]:
        """The resources of each that is there."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function gives on a machine with an encoder's resources."""
        remote = self.ray.remote(max_retries=-1, **self._resources(1))(function)
        needed = " and ".join(f"{n} {name.removeprefix('num_').upper()[:3]}" for name, n in self._resources(1).items())
        with explain_errors(self.ray), remark(f"no machine with {needed} was free {SHOWN}"):
            return self.ray.get(remote.remote(*arguments))


class Joins:
    """Shards whose pieces are all there, being joined somewhere in the cluster."""

    def __init__(self, ray: Any, work: Work, pieces: Iterable[Piece]):
        self._ray, self._work = ray, work
        self._names: dict[str, list[str]] = {}
        for piece in pieces:
            self._names.setdefault(piece.shard, []).append(piece.name)
        self._join = ray.remote(num_cpus=0, max_retries=-1, scheduling_strategy="SPREAD")(join_there)
        self._waiting: list[str] = []
        self._running: list[Any] = []

    def begin(self, shard: str) -> None:
        self._waiting.append(shard)

    def take(self, wait: bool) -> Iterator[tuple[str, Contents]]:
        """Shards that are whole now, and what they hold; with `wait`, all that were begun."""
        while True:
            while self._waiting and len(self._running) < JOINS:
                self._running.append(self._send(self._waiting.pop(0)))
            if not self._running:
                return
            done, self._running = self._ray.wait(self._running, timeout=None if wait else 0)
            if not done:
                return
            for name in self._ray.get(done):
                yield name, self._work.store.read(name)

    def _send(self, shard: str) -> Any:
        store = self._work.store
        job = describe(self._work.vae, self._work.recipe)
        return self._join.remote(store.folder, shard, self._names[shard], job)
