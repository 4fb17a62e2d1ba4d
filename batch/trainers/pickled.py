"""The .pt files of SimpleTuner and OneTrainer. Nothing in them is run: torch reads them with weights_only.

SimpleTuner  a tensor, or {'latents': ...}, packed by gzip if one wants; the file has the image's name, or the SHA-256
             of it (bghira/SimpleTuner bc8e6ab, simpletuner/helpers/caching/vae.py)
OneTrainer   variation-<n>/<i>.pt {'latent_image': ..., 'crop_offset': ...}, and aggregate.pt with a list of
             {'image_path': ..., 'crop_resolution': (height, width)}
             (Nerogar/mgds 3a6994a, pipelineModules/DiskCache.py; Nerogar/OneTrainer 23df383, modules/dataLoader)
"""

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ...vae_core import BadRequest, VAEError
from ...vae_core.errors import is_out_of_memory
from ..formats import CONVENTIONS, ONE_TRAINER, SIMPLE_TUNER
from ..records import Size
from .kept import LARGEST, Kept, Unread

SUFFIX, AGGREGATE = ".pt", "aggregate.pt"
_GZIP, _ZIP = b"\x1f\x8b", b"PK"


def load(file: BinaryIO, where: str) -> Any:
    """What torch pickled. Raises BadRequest if it is damaged, or holds more than tensors, numbers and texts."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        if is_out_of_memory(error):
            raise
        raise BadRequest(f"'{where}' cannot be read: {str(error).splitlines()[0][:200]}.") from error


class Aggregates:
    """What the aggregate.pt of OneTrainer tells of the files beside it. That of the last folder is kept."""

    def __init__(self) -> None:
        self._path, self._told = Path(), []

    def find(self, path: Path) -> dict[str, Any]:
        """What is told of <i>.pt; nothing if aggregate.pt is not there or says nothing of it."""
        try:
            if self._path != path.parent / AGGREGATE:
                self._path, self._told = path.parent / AGGREGATE, []
                self._told = read_file(self._path)
            one = self._told[int(path.stem)]
        except (VAEError, OSError, EOFError, zlib.error, ValueError, LookupError, TypeError):
            return {}
        return one if isinstance(one, dict) else {}


def read(path: Path, aggregates: Aggregates) -> Iterator[Kept | Unread]:
    """The latent of a file; nothing if it holds other things, as texts that were encoded."""
    if path.name == AGGREGATE:
        return
    try:
        item = read_file(path)
    except (VAEError, OSError, EOFError, zlib.error) as error:
        yield Unread(str(path), str(error))
        return
    if isinstance(item, dict) and isinstance(item.get("latent_image"), Tensor):
        yield _make_one_trainer(path, item, aggregates.find(path))
        return
    latent = item.get("latents") if isinstance(item, dict) else item
    if isinstance(latent, Tensor) and latent.ndim in (3, 4) and latent.is_floating_point():
        yield Kept(str(path), SIMPLE_TUNER, latent, CONVENTIONS[SIMPLE_TUNER], path.stat().st_mtime_ns, stem=path.stem)


def read_file(path: Path) -> Any:
    """What is in a .pt file, packed or not. Raises BadRequest, OSError, EOFError, zlib.error."""
    with path.open("rb") as file:
        start = file.read(2)
        file.seek(0)
        if start == _ZIP:
            return load(file, str(path))
        if start != _GZIP:
            raise BadRequest(f"'{path}' is no file of torch.")
        with gzip.GzipFile(fileobj=file) as packed:
            data = packed.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise BadRequest(f"'{path}' unpacks to more than a latent has.")
    return load(io.BytesIO(data), str(path))


def _make_one_trainer(path: Path, item: dict[str, Any], told: dict[str, Any]) -> Kept:
    named = told.get("image_path")
    return Kept(
        where=str(path),
        trainer=ONE_TRAINER,
        latent=item["latent_image"],
        convention=CONVENTIONS[ONE_TRAINER],
        made=path.stat().st_mtime_ns,
        image=Path(named) if isinstance(named, str) else None,
        stem=Path(named).stem if isinstance(named, str) else "",
        bucket=_turn(told.get("crop_resolution")),
    )


def _turn(size: Any) -> Size | None:
    """(height, width) -> (width, height)."""
    if isinstance(size, Sequence) and len(size) == 2 and all(isinstance(n, int) for n in size):
        return size[1], size[0]
    return None
