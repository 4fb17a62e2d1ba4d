"""Parts of shards, each in a file of its own until its shard is whole. Nothing here knows Ray.

A piece's file is a small shard: latents and broken images. Its name is a function of what the VAE, the recipe and its
items are, so a piece that is made twice overwrites itself, and one of an earlier run counts only where it is the same.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...vae_core import BadRequest, VAEError
from ..places import make_folder, remove_tree, write_whole
from ..planning import Shard, cut_batches
from ..recipe import Recipe
from ..records import Item, Skipped
from ..shards import Job, Latent, read_contents, read_shard, sync, write_shard
from ..store import Store

PIECES, TRIES = "pieces", ".tries"
MOST_TRIES = 8  # of a piece in one run: then it is no accident that its encoders end
PIECE = 64  # images of one, about: some seconds of a GPU, and some MB of latents that one object holds


@dataclass(frozen=True)
class Piece:
    """Batches of a shard that one encoder takes. shard, name: of the files, the piece's without its folder."""

    shard: str
    name: str
    batches: tuple[tuple[Item, ...], ...]

    @property
    def count(self) -> int:
        return sum(len(batch) for batch in self.batches)


@dataclass(frozen=True)
class Receipt:
    """A piece whose file is there, and what is in it."""

    shard: str
    name: str
    latents: int
    skipped: int


def cut_pieces(shard: Shard, vae: str, recipe: Recipe, most: int = PIECE) -> list[Piece]:
    """The pieces of a shard, in the order of its items. vae: its fingerprint. most: images of a piece, about."""
    batches, each = list(cut_batches(shard, recipe.batch)), max(1, most // recipe.batch)
    parts = [tuple(batches[at : at + each]) for at in range(0, len(batches), each)]
    return [Piece(shard.name, _name(part, vae, recipe), part) for part in parts]


def _name(batches: Sequence[Sequence[Item]], vae: str, recipe: Recipe) -> str:
    said = [vae, recipe.to_dict(), [[item.record.key for item in batch] for batch in batches]]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:24] + ".safetensors"


def find_path(store: Store, shard: str, name: str) -> Path:
    return store.folder / PIECES / shard.removesuffix(".safetensors") / name


def write_piece(store: Store, shard: str, name: str, packed: bytes) -> None:
    """Write what `pack_shard` gave: whole or not at all, and on the disk when this returns."""
    path = find_path(store, shard, name)
    make_folder(path.parent)
    with write_whole(path) as part:
        part.write_bytes(packed)
        sync(part)


def find_made(store: Store, pieces: Iterable[Piece]) -> Iterator[Receipt]:
    """Receipts of those pieces that are there and whole, and lack nothing that may go well another time."""
    for piece in pieces:
        path = find_path(store, piece.shard, piece.name)
        if path.exists():
            try:
                contents = read_contents(path)
            except BadRequest:
                continue  # it is made anew
            if not any(one.again for one in contents.skipped):
                yield Receipt(piece.shard, piece.name, len(contents.entries), len(contents.skipped))


def note_try(store: Store, piece: Piece) -> None:
    """Note that an encoder begins with a piece. Raises VAEError if too many have, and ended without a word."""
    path = find_path(store, piece.shard, piece.name).with_suffix(TRIES)
    make_folder(path.parent)
    before = path.read_bytes() if path.exists() else b""
    if len(before) >= MOST_TRIES:
        first = piece.batches[0][0].record.path
        raise VAEError(
            f"an encoder ended {MOST_TRIES} times at the {piece.count} images from '{first}' on: is memory too small "
            "for them?"
        )
    path.write_bytes(before + b".")


def forget_tries(store: Store) -> None:
    """A new run: those that an earlier one was killed at are innocent."""
    for path in (store.folder / PIECES).glob(f"*/*{TRIES}"):
        path.unlink(missing_ok=True)


def join(store: Store, shard: str, names: Sequence[str], job: Job) -> None:
    """Write a shard from its pieces, in this order, and remove them. job: the VAE and the recipe."""
    latents: list[Latent] = []
    skipped: list[Skipped] = []
    for name in names:
        found, contents = read_shard(find_path(store, shard, name))
        latents += found
        skipped += contents.skipped
    write_shard(store.shards / shard, latents, skipped, job["vae"]["fingerprint"], job)
    remove_tree(find_path(store, shard, names[0]).parent)


def forget(store: Store) -> None:
    """Remove what is left of pieces: of shards that were planned otherwise."""
    remove_tree(store.folder / PIECES)


@dataclass
class Tally:
    """Which pieces are still to come."""

    missing: dict[str, set[str]]
    latents: int = 0
    skipped: int = 0
    whole: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> "Tally":
        missing: dict[str, set[str]] = {}
        for piece in pieces:
            missing.setdefault(piece.shard, set()).add(piece.name)
        return cls(missing)

    def add(self, receipt: Receipt) -> bool:
        """Note a piece, once however often it comes. Is its shard whole now?"""
        left = self.missing[receipt.shard]
        if receipt.name not in left:
            return False
        left.remove(receipt.name)
        self.latents += receipt.latents
        self.skipped += receipt.skipped
        return not left
