"""Files of weights: what is inside without reading it, then the tensors themselves from a memory map.

    *.safetensors                       the header is parsed and checked here, the tensors come from safetensors
    *.ckpt *.pt *.pth *.bin             pickles, read with weights_only=True or not at all
    a folder                            of a diffusers model: its VAE, whole or in shards with an index

Neither is trusted; header.py says what is checked.
"""

import pickle
import re
import struct
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from torch import Tensor

from ..errors import BadRequest, BrokenCheckpoint, UnknownCheckpoint
from ..families.registry import usual_settings
from ..files.marks import FileMark
from ..files.reading import demand_file, read_json
from ..files.safetensors_header import read_header, tensor_bytes
from ..files.safetensors_writing import WORDS
from ..plain import name_kind
from .seals import Seals, check, demand_held, read_seals

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
WEIGHT_FILES = tuple(
    f"diffusion_pytorch_model{kind}" for kind in (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")
)

BORDER = "exact_vae.border"  # in a file's metadata: of the VAE's convolutions, see `load`

# What torch.load raises for files that are cut off, bent or no pickles at all.
DAMAGE = (RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError,
          struct.error)  # fmt: skip


class Entry(NamedTuple):
    """One tensor of a file: its shape, its dtype in safetensors' words, and the file."""

    shape: tuple[int, ...]
    dtype: str
    file: Path


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The tensors of one or several files, by name. Nothing is read until `tensors` is called."""

    path: Path
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str] = field(default_factory=dict)
    loaded: Mapping[str, Tensor] = field(default_factory=dict, repr=False)  # a pickle's tensors, memory-mapped
    marks: Mapping[Path, FileMark] = field(default_factory=dict, repr=False)  # of its files, as they were opened
    seals: Mapping[Path, Seals] = field(default_factory=dict, repr=False)  # of those that are pickles

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.entries.items()}

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(entry.file for entry in self.entries.values()))

    def dtypes(self, names: Iterable[str]) -> dict[str, int]:
        """How many of these tensors are stored in each dtype, the commonest first."""
        return dict(Counter(self.entries[name].dtype for name in names).most_common())

    def bytes(self, names: Iterable[str]) -> int:
        return sum(tensor_bytes(self.entries[name].shape, self.entries[name].dtype) for name in names)

    def tensors(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor on the memory map), file by file, in the order asked for; nothing is copied.

        Raises BrokenCheckpoint if a file has changed since it was opened, or its checksums are wrong.
        """
        wanted = list(names)
        for file in self.files:
            here = [name for name in wanted if self.entries[name].file == file]
            if here:
                self.marks[file].demand_same()
                loaded = ((name, self.loaded[name]) for name in here)
                yield from check(file, self.seals[file], loaded) if file in self.seals else _mapped(file, here)
                self.marks[file].demand_same()


def _mapped(file: Path, names: list[str]) -> Iterator[tuple[str, Tensor]]:
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            yield from ((name, opened.get_tensor(name)) for name in names)
    except (safetensors.SafetensorError, OSError) as e:
        raise BrokenCheckpoint(f"'{file}' cannot be read: {e}") from e


def open_checkpoint(path: str | Path) -> Checkpoint:
    """What is in a file, or in a folder of a diffusers model.

    Raises BadRequest if there is nothing to open, BrokenCheckpoint and UnknownCheckpoint if it is no file of weights.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _open_folder(path)
        demand_file(path)
        return _open_pickle(path) if path.suffix.lower() in PICKLES else _open_safetensors(path)
    except OSError as e:
        raise BadRequest(f"'{path}' cannot be read: {e.strerror or e}.") from e


def _open_folder(folder: Path) -> Checkpoint:
    for place in (folder, folder / "vae"):
        for name in WEIGHT_FILES:
            index, file = place / f"{name}.index.json", place / name
            if index.is_file() or file.is_file():
                _demand_usual(place / "config.json")
                return _open_shards(index) if index.is_file() else open_checkpoint(file)
    raise BadRequest(f"the folder '{folder}' holds no VAE: neither it nor its folder 'vae' has a {WEIGHT_FILES[0]}.")


def _open_shards(index: Path) -> Checkpoint:
    """An index names the file of every tensor; only files beside it are opened."""
    try:
        names = set(read_json(index)["weight_map"].values())
        shards = [index.parent / Path(name).name for name in sorted(names)]
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise BrokenCheckpoint(f"'{index}' is no index of shards: it has no 'weight_map'.") from e
    if lost := [shard.name for shard in shards if not shard.is_file()]:
        raise BadRequest(f"'{index}' names files that are not beside it: {', '.join(lost)[:200]}.")
    return combine([open_checkpoint(shard) for shard in shards], path=index.parent)


def _demand_usual(config: Path) -> None:
    """What shapes cannot tell and a folder's config can: refuse groups and activations no published VAE has."""
    try:
        facts = read_json(config) if config.exists() else {}
    except ValueError as e:
        raise BrokenCheckpoint(f"'{config}' cannot be read: {e}.") from e
    if not isinstance(facts, dict):
        raise BrokenCheckpoint(f"'{config}' cannot be read: it is no table of settings.")
    for name, value in usual_settings(facts).items():
        if facts.get(name, value) != value:
            raise UnknownCheckpoint(f"'{config}' has {name} {facts[name]!r}: only VAEs with {value!r} are supported.")


def combine(parts: list[Checkpoint], path: Path) -> Checkpoint:
    """Several files as one; where two hold the same name, the later one counts."""
    entries, metadata, loaded, marks, seals = {}, {}, {}, {}, {}
    for part in parts:
        entries |= part.entries
        metadata |= part.metadata
        loaded |= part.loaded
        marks |= part.marks
        seals |= part.seals
    return Checkpoint(path, entries, metadata, loaded, marks, seals)


def _open_safetensors(path: Path) -> Checkpoint:
    mark = FileMark.of(path)
    header, metadata = read_header(path)
    entries = {name: Entry(tuple(info["shape"]), info["dtype"], path) for name, info in header.items()}
    return Checkpoint(path, entries, metadata, {}, {path: mark})


def _open_pickle(path: Path) -> Checkpoint:
    mark = FileMark.of(path)
    weights = {str(k): v for k, v in _state_dict(_unpickle(path)).items() if isinstance(v, Tensor)}
    if not weights:
        raise UnknownCheckpoint(f"'{path}' holds no tensors by name: it is no file of weights.")
    if odd := {name_kind(t) or str(t.dtype) for t in weights.values() if name_kind(t) or t.dtype not in WORDS}:
        raise UnknownCheckpoint(f"'{path}' holds tensors of {', '.join(sorted(odd))}: a VAE's are plain numbers.")
    demand_held(path, weights.items())
    entries = {name: Entry(tuple(t.shape), WORDS[t.dtype], path) for name, t in weights.items()}
    return Checkpoint(path, entries, {}, weights, {path: mark}, {path: read_seals(path)})


def _unpickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_mappable(path))
    except pickle.UnpicklingError as e:
        raise BrokenCheckpoint(_refused(path, e)) from e
    except DAMAGE as e:
        raise BrokenCheckpoint(f"'{path}' is damaged or no PyTorch file; download it again.") from e


def _is_mappable(path: Path) -> bool:
    """Do the numbers of this file lie in it as they are? Not in files of torch < 1.6, which are no zip archives, and
    not in archives that were packed anew with compression: torch would map the compressed bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return False


def _refused(path: Path, e: Exception) -> str:
    found = re.search(r"GLOBAL (\S+)", str(e))
    what = f"code ({found[1]})" if found else "objects"
    return f"'{path}' holds {what} beside its weights and was not opened; use a .safetensors file instead."


def _state_dict(content: Any) -> Mapping[str, Any]:
    """The table of weights, nested under 'state_dict' or not. One that holds itself is gone into once."""
    seen = {id(content)}
    while isinstance(content, Mapping) and isinstance(inner := content.get("state_dict"), Mapping):
        if id(inner) in seen:
            break
        seen.add(id(inner))
        content = inner
    return content if isinstance(content, Mapping) else {}
