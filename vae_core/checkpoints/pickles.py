"""Files that torch has pickled: opened with weights_only, so nothing in them is run.

What training programs leave beside weights (callbacks, settings, numbers of numpy) is replaced by an empty stand-in.
"""

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import BrokenCheckpoint, DoesNotFit, UnknownCheckpoint, some
from ..execution import budget, format_bytes

# What torch.load raises for files that are cut off, bent or no pickles at all.
DAMAGE = (RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError,
          struct.error)  # fmt: skip

# Whose objects are replaced; any other name in a pickle is refused.
HARMLESS = re.compile(
    r"(pytorch_lightning|lightning|lightning_fabric|omegaconf|numpy|typing|pathlib|collections|enum)\."
    r"|argparse\.Namespace$|_codecs\.encode$"
)
MOST_STAND_INS = 64
DEEPEST = 4  # tables within tables in which weights are looked for
MOST_ITEMS = 64  # of a list or tuple of tables
HALVES = {"encoder", "decoder"}  # the keys of a table that holds a VAE module by module


class Nested(NamedTuple):
    """weights: name -> tensor. inside: the keys that led there, 'ema.state_dict'; '' if they are at the top."""

    weights: dict[str, Tensor]
    inside: str = ""


def read_pickle(path: Path) -> Nested:
    """The weights of a file. Raises BrokenCheckpoint and UnknownCheckpoint."""
    tables = list(_list_tables(_unpickle(path)))
    if not tables:
        raise UnknownCheckpoint(f"'{path}' holds no tensors by name: it is no file of weights.")
    most = max(len(table.weights) for table in tables)
    return max((table for table in tables if 2 * len(table.weights) >= most), key=_rank)


def _rank(table: Nested) -> tuple[bool, bool, int]:
    """Averages of training before what they are averages of, then where most tensors are."""
    keys = table.inside.split(".")
    return any("ema" in key for key in keys), "state_dict" in keys, len(table.weights)


def _list_tables(content: Any) -> Iterator[Nested]:
    """All tables that hold tensors by name, in the content and within its tables, each once."""
    seen: set[int] = set()
    waiting: list[tuple[Any, tuple[str, ...]]] = [(content, ())]
    while waiting:
        table, way = waiting.pop()
        if id(table) in seen or len(way) > DEEPEST:
            continue
        seen.add(id(table))
        if isinstance(table, list | tuple) and len(table) <= MOST_ITEMS:
            table = dict(enumerate(table))
        if not isinstance(table, Mapping):
            continue
        weights = {**_list_tensors(table), **_join_modules(table)}
        if weights and _is_network(way):
            yield Nested(weights, ".".join(way))
        waiting += [(value, (*way, str(key))) for key, value in table.items()]


def _list_tensors(table: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in table.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _join_modules(table: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors of a table that holds both halves of a VAE, each in its own table, and what is between them.

    Alone a half would be read as a VAE, of the layers that happen to be in it.
    """
    parts = {key: _list_tensors(value) for key, value in table.items() if isinstance(value, Mapping)}
    if not all(parts.get(half) for half in HALVES):
        return {}
    named = [(f"{key}.", part) for key, part in parts.items() if isinstance(key, str) and _is_network((key,))]
    return {key + name.removeprefix(key): t for key, part in named for name, t in part.items()}


def _is_network(way: tuple[str, ...]) -> bool:
    return not any(key.startswith(("optimizer", "lr_scheduler", "scheduler", "loss", "discriminator")) for key in way)


def _unpickle(path: Path) -> Any:
    allowed: list[Any] = []
    while True:
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
                warnings.simplefilter("ignore")
                return _load(path)
        except pickle.UnpicklingError as e:
            found = re.search(r"GLOBAL (\S+)", str(e))
            name = found[1].rstrip(".:,") if found else ""
            if name and _ends_in(path, name):
                raise BrokenCheckpoint(f"'{path}' is damaged: it is cut off; download it again.") from e
            if not HARMLESS.match(name) or len(allowed) >= MOST_STAND_INS or name in map(_name, allowed):
                raise BrokenCheckpoint(_refuse(path, name)) from e
            allowed.append(make_stand_in(name))
        except DAMAGE as e:
            raise BrokenCheckpoint(f"'{path}' is damaged or no PyTorch file; download it again.") from e


def _ends_in(path: Path, name: str) -> bool:
    """Does the file end within this name of an object? torch takes the last letter for the end of the line."""
    last = name.rpartition(".")[2].encode()
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(last) - 1))
        return file.read().startswith(last)


def _load(path: Path) -> Any:
    mappable = _is_mappable(path)
    if path.suffix == ".safetensors":  # torch would go by the name
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)


class StandIn:
    """Does nothing, whatever it is made of."""

    def __init__(self, *given: Any, **named: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def make_stand_in(name: str) -> type:
    """An empty class that torch takes for the one of this name."""
    module, _, own = name.rpartition(".")
    return type(own, (StandIn,), {"__module__": module, "__qualname__": own})


def _name(made: type) -> str:
    return f"{made.__module__}.{made.__qualname__}"


def _is_mappable(path: Path) -> bool:
    """Do the numbers of this file lie in it as they are? Not in files of torch < 1.6, which are no zip archives, and
    not in archives that were packed anew with compression: torch would map the compressed bytes.
    """
    with suppress(zipfile.BadZipFile, NotImplementedError, ValueError), zipfile.ZipFile(path) as archive:
        if code := [name for name in archive.namelist() if "/code/" in name]:
            raise BrokenCheckpoint(
                f"'{path}' is a TorchScript program ({some(code, 1)}), not a file of weights: take the file of weights "
                "that it was made of, a .safetensors file."
            )
        if not any(name.endswith("data.pkl") for name in archive.namelist()):
            held = some(sorted(archive.namelist()), 2) or "nothing"
            raise BrokenCheckpoint(
                f"'{path}' is a ZIP archive that PyTorch has not written, it holds {held}: unpack it if a file of "
                "weights is among that, else take the .safetensors file."
            )
        if all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist()):
            return True
        _demand_room(path, sum(entry.file_size for entry in archive.infolist()))
    return False


def _demand_room(path: Path, size: int) -> None:
    """Raise DoesNotFit unless so many bytes can be unpacked into memory."""
    if size > (free := budget.free(torch.device("cpu"))):
        raise DoesNotFit(
            f"'{path}' is compressed, so it is unpacked into memory, which takes {format_bytes(size)}, but only "
            f"{format_bytes(free)} are free: save it without compression, as torch does."
        )


def _refuse(path: Path, name: str) -> str:
    if not name and not _begins_as_torch_writes(path):
        return f"'{path}' is damaged or no PyTorch file; download it again."
    what = f"code ({name})" if name else "objects"
    return f"'{path}' holds {what} beside its weights and was not opened; use a .safetensors file instead."


def _begins_as_torch_writes(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
