"""What runs on the machines of a cluster. Rows hold paths, latents and receipts, never pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..encoding import Agreed, Encoder, Loading, agree
from ..planning import look_at
from ..recipe import Recipe
from ..records import Shape
from ..shards import Job, Latent, pack_shard
from ..store import Store
from ..workers import encode_all
from .machines import Kind, demand_kind, demand_visible, know_kind
from .pieces import Piece, Receipt, join, note_try, write_piece

Rows = dict[str, Sequence[Any]]  # of a block, by columns; objects of ours are passed as they are, one in a row


@dataclass(frozen=True)
class Chunk:
    """Sources that are looked at together, or what was found of them. number: of the first, in the job."""

    number: int
    inside: tuple[Any, ...]


@dataclass(frozen=True)
class Made:
    """A piece before it is written. packed: the bytes of its file."""

    receipt: Receipt
    packed: bytes


@dataclass(frozen=True)
class Setup:
    """What an encoder is made of.

    vae      its fingerprint
    places   that its machine must see
    folder   of the cache
    readers  threads that read images beside it
    """

    loading: Loading
    device: str
    recipe: Recipe
    plans: Mapping[Shape, Agreed]
    vae: str
    kind: Kind
    places: tuple[Path, ...]
    folder: Path
    readers: int


class PieceEncoder:
    """An actor: a VAE on a device, which turns pieces into the bytes of their files."""

    def __init__(self, setup: Setup):
        demand_visible(setup.places)
        demand_kind(setup.kind, setup.device)
        torch.set_num_threads(setup.recipe.threads)
        self._setup = setup
        self._encoder = Encoder(setup.loading.load(setup.device), setup.recipe, setup.plans, setup.readers)

    def __call__(self, rows: Rows) -> Rows:
        return {"made": [self._encode(piece) for piece in rows["piece"]]}

    def _encode(self, piece: Piece) -> Made:
        note_try(Store(self._setup.folder), piece)
        results = [one for batch in encode_all(self._encoder, piece.batches) for one in batch]
        latents = [one for one in results if isinstance(one, Latent)]
        skipped = [one for one in results if not isinstance(one, Latent)]
        receipt = Receipt(piece.shard, piece.name, len(latents), len(skipped))
        return Made(receipt, pack_shard(latents, skipped, self._setup.vae))


@dataclass(frozen=True)
class PieceSink:
    """Writes the files of pieces, and passes on their receipts."""

    folder: Path

    def __call__(self, rows: Rows) -> Rows:
        receipts = [made.receipt for made in rows["made"]]
        for made, receipt in zip(rows["made"], receipts, strict=True):
            write_piece(Store(self.folder), receipt.shard, receipt.name, made.packed)
        return {"receipt": receipts}


@dataclass(frozen=True)
class Reader:
    """Looks at sources: their bytes and headers. places: that its machine must see."""

    places: tuple[Path, ...]

    def __call__(self, rows: Rows) -> Rows:
        demand_visible(self.places)
        return {
            "chunk": [Chunk(one.number, tuple(look_at(source, {}) for source in one.inside)) for one in rows["chunk"]]
        }


def know_machine(device: str, loading: Loading) -> tuple[Kind, torch.dtype]:
    """On a machine with an encoder's resources: its kind, and the dtype that a VAE gets there."""
    return know_kind(device), loading.load(device).dtype


def agree_there(loading: Loading, device: str, recipe: Recipe, shapes: Sequence[Shape]) -> dict[Shape, Agreed]:
    """As `agree`, on a machine with an encoder's resources."""
    return agree(loading.load(device), recipe, shapes)


def join_there(folder: Path, shard: str, names: Sequence[str], job: Job) -> str:
    """As `join`; gives the shard's name. Made again after it was made, it changes nothing."""
    store = Store(folder)
    if not (store.shards / shard).exists():
        join(store, shard, names, job)
    return shard
