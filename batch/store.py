"""The folder of a cache: shards, and what is known of them.

shards/*.safetensors   the latents, each with its record: the truth
index.jsonl            one line for each latent, and index.parquet with the same if pyarrow is there
skipped.jsonl          sources without a latent, and why
sources.jsonl          the sources as they were when they were encoded
job.json               the VAE, the recipe, the versions
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from ..vae_core import BadRequest
from ..vae_core.files import hold_folder
from .places import explain_reading, is_remote, make_folder, read_json, write_whole
from .records import Image, Record, Skipped, Source
from .shards import Contents, Entry, read_contents, sync

SHARDS, JOB, INDEX, TABLE = "shards", "job.json", "index.jsonl", "index.parquet"
SKIPPED, SOURCES = "skipped.jsonl", "sources.jsonl"

Line = TypeVar("Line")
_ADVICE = (
    "Remove it, and build again with the options that the cache was made with: what the shards have is not encoded "
    "again."
)


@dataclass(frozen=True)
class Row:
    """A line of the index."""

    shard: str
    entry: Entry
    caption: str | None = None

    @property
    def record(self) -> Record:
        return self.entry.record

    def to_dict(self) -> dict[str, Any]:
        more = {"shape": self.entry.shape, "digest": self.entry.digest, "shard": self.shard, "caption": self.caption}
        return {**self.record.to_dict(), **more}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "Row":
        return cls(d["shard"], Entry(Record.from_dict(d), tuple(d["shape"]), d["digest"]), d["caption"])


class Store:
    """A cache in a folder. What is read is read when it is first asked for."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.shards = folder / SHARDS

    def demand(self) -> "Store":
        """This store. Raises BadRequest if there is no cache in the folder."""
        if not (self.folder / JOB).is_file():
            raise BadRequest(
                f"there is no cache in '{self.folder}': it has no {JOB}. `exact-vae cache build` makes one."
            )
        return self

    def make(self) -> None:
        make_folder(self.shards)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While the block runs, no other run may write into the cache. Stores that are elsewhere have no such lock.

        Raises BadRequest if one does.
        """
        if is_remote(self.folder):
            yield
            return
        with hold_folder(self.folder) as alone:
            if not alone:
                raise BadRequest(f"another run is writing into '{self.folder}': let it end, or name another folder.")
            yield

    @cached_property
    def job(self) -> dict[str, Any]:
        """What job.json says; nothing if there is none. Raises BadRequest if it is broken."""
        path = self.folder / JOB
        with explain_reading(path):
            if not path.exists():
                return {}
        try:
            found = read_json(path)
        except ValueError as error:
            raise BadRequest(f"'{path}' is no JSON: {error}. {_ADVICE}") from error
        if not isinstance(found, dict) or not all(isinstance(found.get(part), dict) for part in ("vae", "recipe")):
            raise BadRequest(f"'{path}' does not describe a cache: it has no 'vae' and 'recipe'. {_ADVICE}")
        return found

    def write_job(self, job: dict[str, Any]) -> None:
        with write_whole(self.folder / JOB) as part:
            part.write_text(json.dumps(job, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            sync(part)
        self.__dict__["job"] = job

    def list_shards(self) -> list[str]:
        return sorted(path.name for path in self.shards.glob("*.safetensors")) if self.shards.is_dir() else []

    def read(self, name: str) -> Contents:
        return read_contents(self.shards / name)

    @property
    def is_bound(self) -> bool:
        """Do the VAE and the recipe of job.json bind the next run? In a store, where no run has a lock, they always do.

        A run that made nothing, as with options that no image suits, binds nobody.
        """
        return bool(self.job) and (is_remote(self.folder) or bool(self.list_shards()))

    def read_rows(self) -> Iterator[Row]:
        """The index. Raises BadRequest if it is not there or broken."""
        return self._read(INDEX, Row.from_dict)

    def read_skipped(self) -> list[Skipped]:
        """Raises BadRequest if the list is broken."""
        return list(self._read(SKIPPED, lambda line: Skipped(**line))) if (self.folder / SKIPPED).exists() else []

    @property
    def has_images(self) -> bool:
        """Is the list of images there?"""
        return (self.folder / SOURCES).exists()

    def read_images(self) -> dict[str, Image]:
        """The images as they were when they were surveyed, by the paths of their sources; none without their list.

        Raises BadRequest if the list is broken.
        """
        if not self.has_images:
            return {}
        return {image.source.path: image for image in self._read(SOURCES, _to_image)}

    def write_images(self, images: Iterable[Image]) -> None:
        self._write_lines(
            SOURCES,
            (
                {**asdict(one.source), "id": one.id, "size": one.size, "frames": one.frames, "rate": one.rate}
                for one in images
            ),
        )

    def write_index(self, rows: Iterable[Row], skipped: Iterable[Skipped]) -> None:
        lines = [row.to_dict() for row in rows]
        self._write_lines(INDEX, lines)
        self._write_lines(SKIPPED, (asdict(one) for one in skipped))
        if find_spec("pyarrow"):
            arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
            with write_whole(self.folder / TABLE) as part:
                parquet.write_table(arrow.Table.from_pylist(lines), part)

    def _write_lines(self, name: str, lines: Iterable[dict[str, Any]]) -> None:
        with write_whole(self.folder / name) as part, part.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=True) + "\n" for line in lines)

    def _read(self, name: str, make: Callable[[dict[str, Any]], Line]) -> Iterator[Line]:
        """A list, line by line. Raises BadRequest if it is broken: it can be made of the shards again."""
        path, read = self.folder / name, 0
        try:
            with path.open(encoding="utf-8") as file:
                for line in file:
                    yield make(json.loads(line))
                    read += 1
        except OSError as error:
            raise BadRequest(f"'{path}' cannot be read: {error.strerror or error}.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise BadRequest(
                f"'{path}' is broken in line {read + 1}: `exact-vae cache build --update`, with the options that the "
                "cache was made with, makes it anew."
            ) from error


def _to_image(line: dict[str, Any]) -> Image:
    part = tuple(line["part"]) if line["part"] else None
    source = Source(line["path"], line["file"], tuple(line["stamp"]), part, line["caption"])
    return Image(source, line["id"], tuple(line["size"]), line.get("frames", 1), line.get("rate", 0.0))
