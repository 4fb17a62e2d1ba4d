"""A cache as archives of WebDataset: for each latent its numbers, a .json with what is known of it, and its caption.

A sample's files have one name up to the first dot (webdataset/webdataset, src/webdataset/tariterators.py), so the dots
in our keys become underscores. An archive holds latents of one size, so that a loader can make batches of it.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from ..vae_core import BadRequest, convert
from ..vae_core.errors import some
from ..vae_core.files import make_folder, write_atomically
from ..vae_core.latents import RAW, get_space
from .comparing import read_sound_row
from .limits import MOST_RECORDS, SHARD
from .recipe import BOTH
from .records import name_shape
from .statistics import demand_space
from .store import Row, Store
from .verifying import OnChecked
from .watching import ignore

NPY, SAFETENSORS = TENSORS = ("npy", "safetensors")


@dataclass(frozen=True)
class Archives:
    """What to write.

    folder      where to
    tensors     'npy', a file for each tensor, which has no bf16: float32 stands for it; or 'safetensors', as stored
    convention  'raw', 'scaled' or 'normalised'
    space       whose latents they are, a key of SPACES, if the VAE does not tell and they are not raw
    overwrite   archives that are there
    most        bytes of an archive's tensors, about
    """

    folder: Path
    tensors: str = NPY
    convention: str = RAW
    space: str | None = None
    overwrite: bool = False
    most: int = SHARD


@dataclass(frozen=True)
class Packed:
    archives: int
    latents: int


def export_archives(store: Store, what: Archives, progress: OnChecked = ignore) -> Packed:
    """Write a cache as archives, each whole or not at all.

    Raises BadRequest, before anything is written, if there are no latents, if the space is not known but needed, or if
    archives are there already.
    """
    rows = list(store.demand().read_rows())
    if not rows:
        raise BadRequest(f"'{store.folder}' has no latents.")
    space = demand_space(what.space or store.job["vae"].get("latent_space"), rows[0].entry.shape[0])
    _demand_convention(store, what, space)
    parts = list(cut(rows, what.most))
    there = [] if what.overwrite else [name for name, _ in parts if (what.folder / name).exists()]
    if there:
        raise BadRequest(
            f"in '{what.folder}' there are {len(there)} of the archives already ({some(there)}): give another folder, "
            "or --overwrite to replace them."
        )
    make_folder(what.folder)
    done = 0
    for name, inside in parts:
        with write_atomically(what.folder / name) as part, tarfile.open(part, "w") as archive:
            for row in inside:
                _put_sample(archive, store, row, what, space)
                done += 1
                progress(done, len(rows))
    return Packed(len(parts), len(rows))


def _demand_convention(store: Store, what: Archives, space: str | None) -> None:
    if what.convention == RAW:
        return
    if space is None:
        raise BadRequest(f"latents become {what.convention} only in a known space: name it by --space.")
    if store.job["recipe"].get("posterior") == BOTH:
        raise BadRequest("of a mean with its logvar only the raw numbers are exported: leave --convention out.")


def cut(rows: Iterable[Row], most: int) -> Iterator[tuple[str, list[Row]]]:
    """(name, rows) of each archive: of one shape, and about so many bytes of fp32."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        shape = "x".join(map(str, row.entry.shape[1:-2]))  # frames, if there are any
        groups.setdefault("x".join(filter(None, (name_shape(row.record.bucket), shape))), []).append(row)
    for size, inside in sorted(groups.items()):
        count = max(1, min(MOST_RECORDS, most // (4 * int(np.prod(inside[0].entry.shape)))))
        for number, at in enumerate(range(0, len(inside), count)):
            yield f"{size}-{number:05}.tar", inside[at : at + count]


def _put_sample(archive: tarfile.TarFile, store: Store, row: Row, what: Archives, space: str | None) -> None:
    key, tensors = row.record.key.replace(".", "_"), read_sound_row(store, row)
    if what.convention != RAW:
        assert space is not None
        tensors = {
            name: convert(one[None], get_space(space), RAW, what.convention)[0].to(one.dtype)
            for name, one in tensors.items()
        }
    for ending, data in _encode(tensors, what.tensors):
        _put(archive, f"{key}.{ending}", data)
    _put(archive, f"{key}.json", json.dumps(describe(store, row, what, space), ensure_ascii=False).encode())
    if row.caption is not None:
        _put(archive, f"{key}.txt", row.caption.encode())


def _encode(tensors: dict[str, Tensor], how: str) -> Iterator[tuple[str, bytes]]:
    if how == SAFETENSORS:
        yield SAFETENSORS, save({name: one.contiguous() for name, one in tensors.items()})
        return
    for name, one in tensors.items():
        data = io.BytesIO()
        np.save(data, (one.float() if one.dtype == torch.bfloat16 else one).numpy(), allow_pickle=False)
        yield f"{name}.{NPY}", data.getvalue()


def describe(store: Store, row: Row, what: Archives, space: str | None) -> dict[str, Any]:
    """What the .json of a sample says."""
    more = {"shape": row.entry.shape, "convention": what.convention, "space": space}
    return {**row.record.to_dict(), **more, "vae": store.job["vae"].get("fingerprint")}


def _put(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """No times and no owners, so that equal caches give equal archives."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
