"""The bytes and the pixels of a source."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from ..vae_core import readers
from . import colours, tables
from .places import bring_here, parse_place, read_part
from .records import Source

PIECE = 2**20  # bytes that are read at once


@contextmanager
def open_file(source: Source) -> Iterator[Path]:
    """A file that holds the image and nothing else; of an archive, table or store a copy, which is removed after."""
    if source.part is None:
        with bring_here(parse_place(source.file)) as path:
            yield path
        return
    with tempfile.TemporaryDirectory(prefix="exact-vae-") as folder:
        path = Path(folder, Path(source.path).name[-100:] or "image")
        path.write_bytes(read_bytes(source))
        yield path


def read_bytes(source: Source) -> bytes:
    """The bytes of an image that lies in a file with others. Raises OSError."""
    assert source.part is not None
    if tables.is_table(source.file):
        return tables.read_cell(source.file, source.part)
    return read_part(parse_place(source.file), *source.part)


def digest(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits; of a folder that of its files' names and digests. Raises OSError."""
    found = hashlib.sha256()
    if path.is_dir():
        for one in sorted(path.iterdir()):
            if one.is_file():
                found.update(f"{one.name}\0{digest(one)}\n".encode("utf-8", "surrogateescape"))
        return found.hexdigest()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def read_pixels(source: Source, srgb: bool) -> Tensor:
    """The image (H, W, 3 or 4) in [0, 1], float32, upright. Raises BadPixels, DoesNotFit, BadRequest, OSError."""
    with open_file(source) as path:
        image = readers.read_first_with_alpha(path)[0]
        return colours.to_srgb(path, image) if srgb else image
