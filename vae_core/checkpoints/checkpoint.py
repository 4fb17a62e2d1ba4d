"""The tensors of one or several files: what is there, and the tensors themselves from a memory map.

Quantised weights, numbers of 8 bits with a scale beside them, are one tensor here, which is multiplied when it is read;
so are the blocks of a GGUF file.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import safetensors
import torch
from torch import Tensor

from ..errors import BrokenCheckpoint
from ..families.blocks.ldm import GROUPS
from ..files.marks import FileMark
from ..files.safetensors_header import tensor_bytes
from .ggufs import Packed
from .rotations import NOTES, find_group, find_layer, read_note, rotate_back
from .seals import Seals, check, demand_end

# What stands beside a quantised `X.weight`: its scale, under either name, and what concerns activations, which run in
# floating point here. `scaled_fp8` only says that there are scales.
SCALES = (".scale_weight", ".weight_scale")
TOLD = "_quant"  # how the weight was quantised, as JSON
OF_ACTIVATIONS = (".scale_input", ".input_scale", TOLD, "scaled_fp8")
QUANTISED = ("F8_E4M3", "F8_E5M2", "I8")
# And what stands there of ways that are not read: bitsandbytes' 4 and 8 bits, GPTQ's and AWQ's, quanto's, blocks of fp8
# and fp4 with scales of their own, and scales under other names.
UNREAD = re.compile(
    r"\.(absmax|nested_absmax|quant_map|nested_quant_map|quant_state\.\w+|SCB|weight_format|qweight|qzeros|g_idx"
    r"|weight\._data|weight\._scale|weight_packed|weight_scale_inv|weight_scale_2|scales?|weight[._]scales?)$"
)
NORM_GROUPS = "exact_vae.norm_groups"  # in the metadata: groups of the VAE's norms, if they are not the usual ones
VERSION = "exact_vae.version"  # in the metadata: of families whose files do not tell it, see `Family.versions`
DIGITS = 6  # of that number, more than any network has channels
NOTE = "quantised"  # in the metadata of what is not read as it is stored: how it is


class Entry(NamedTuple):
    """One tensor of a file: its shape, its dtype in safetensors' words, and the file.

    scale  the name of the tensor that its numbers are to be multiplied with; `dtype` is that of the product
    told   the name of the one that says how they were quantised, if there is one
    size   bytes in the file, if they are not those of its shape and dtype
    """

    shape: tuple[int, ...]
    dtype: str
    file: Path
    scale: str = ""
    told: str = ""
    size: int = 0


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The tensors of one or several files, by name. Nothing is read until `tensors` is called."""

    path: Path
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str] = field(default_factory=dict)
    loaded: Mapping[str, Tensor] = field(default_factory=dict, repr=False)  # a pickle's tensors, memory-mapped
    marks: Mapping[Path, FileMark] = field(default_factory=dict, repr=False)  # of its files, as they were opened
    seals: Mapping[Path, Seals] = field(default_factory=dict, repr=False)  # of those that are pickles
    packed: Mapping[Path, Packed] = field(default_factory=dict, repr=False)  # of those that are GGUF
    scales: Mapping[str, Entry] = field(default_factory=dict, repr=False)  # and what else is told of quantised weights

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.entries.items()}

    @property
    def norm_groups(self) -> int:
        """Groups of the VAE's norms, as its config.json said or `save` noted. Raises BrokenCheckpoint for no number."""
        said = self.metadata.get(NORM_GROUPS, str(GROUPS))
        if not (said.isascii() and said.isdigit() and len(said) <= DIGITS and int(said)):
            raise BrokenCheckpoint(f"'{self.path}' says that its norms have '{said[:40]}' groups, which is no number.")
        return int(said)

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(entry.file for entry in (*self.entries.values(), *self.scales.values())))

    def dtypes(self, names: Iterable[str]) -> dict[str, int]:
        """How many of these tensors are stored in each dtype, the commonest first."""
        return dict(Counter(self.entries[name].dtype for name in names).most_common())

    def bytes(self, names: Iterable[str]) -> int:
        found = (self.entries[name] for name in names)
        return sum(entry.size or tensor_bytes(entry.shape, entry.dtype) for entry in found)

    def is_mapped(self, name: str) -> bool:
        """Does the tensor that is read lie in its file as it is?"""
        entry = self.entries[name]
        return not entry.scale and entry.file not in self.packed

    def tensors(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor on the memory map), file by file, in the order asked for; only what is quantised is copied.

        Raises BrokenCheckpoint if a file has changed since it was opened, or its checksums are wrong.
        """
        wanted = list(names)
        for file in self.files:
            here = [name for name in wanted if self.entries[name].file == file]
            yield from ((name, self._scale(name, tensor)) for name, tensor in self._read(file, here))

    def _read(self, file: Path, names: list[str]) -> Iterator[tuple[str, Tensor]]:
        if not names:
            return
        self.marks[file].demand_same()
        if file in self.seals:
            yield from check(self.marks[file], self.seals[file], ((name, self.loaded[name]) for name in names))
        elif file in self.packed:
            yield from self.packed[file].read(names)
        else:
            demand_end(self.marks[file])
            yield from _map(file, names)
        self.marks[file].demand_same()

    def _scale(self, name: str, numbers: Tensor) -> Tensor:
        entry = self.entries[name]
        if not entry.scale:
            return numbers
        group = self._find_group(name, entry.told)
        scale = self._read_beside(entry.scale).float()
        made = numbers.float() * scale.reshape(-1, *(1,) * (numbers.ndim - 1))
        return rotate_back(made, group, name) if group else made

    def _find_group(self, name: str, told: str) -> int:
        """How many columns of a quantised weight were rotated together. told: the tensor that says so, if one does."""
        if told:
            said = bytes(self._read_beside(told).tolist()).decode(errors="replace")
            return find_group(read_note(said, name), name)
        facts = find_layer(read_note(self.metadata.get(NOTES, "{}"), name), name)
        return find_group(facts, name) if facts else 0

    def _read_beside(self, name: str) -> Tensor:
        """One of `scales`."""
        ((_, tensor),) = self._read(self.scales[name].file, [name])
        return tensor


def _map(file: Path, names: list[str]) -> Iterator[tuple[str, Tensor]]:
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            yield from ((name, opened.get_tensor(name)) for name in names)
    except (safetensors.SafetensorError, OSError) as e:
        raise BrokenCheckpoint(f"'{file}' cannot be read: {e}") from e


def combine(parts: list[Checkpoint], path: Path) -> Checkpoint:
    """Several files as one; where two hold the same name, the later one counts."""
    entries, metadata, loaded, marks, seals, packed = {}, {}, {}, {}, {}, {}
    for part in parts:
        entries |= part.entries
        metadata |= part.metadata
        loaded |= part.loaded
        marks |= part.marks
        seals |= part.seals
        packed |= part.packed
    return Checkpoint(path, entries, metadata, loaded, marks, seals, packed)


def join_scales(checkpoint: Checkpoint) -> Checkpoint:
    """The same, quantised weights and their scales as one tensor each. Scales of other shapes stay as they are."""
    entries = checkpoint.entries
    scales = (name for name in entries if name.endswith(SCALES))
    scaled = {weight: scale for scale in scales for weight in _find_weight(scale, entries)}
    if not scaled:
        return checkpoint
    gone = {*scaled.values(), *(name for name in entries if name.endswith(OF_ACTIVATIONS))}
    told = {name.rpartition(".")[0] + ".weight": name for name in entries if name.endswith(TOLD)}
    joined = {
        name: _join(entry, scaled.get(name), told.get(name, "")) for name, entry in entries.items() if name not in gone
    }
    kinds = sorted({entries[weight].dtype for weight in scaled})
    note = {NOTE: f"{len(scaled)} tensors in {', '.join(kinds)} with scales"}
    beside = {*scaled.values(), *(told[weight] for weight in scaled if weight in told)}
    scales_of = {name: entries[name] for name in beside}
    return replace(checkpoint, entries=joined, scales=scales_of, metadata={**checkpoint.metadata, **note})


def _join(entry: Entry, scale: str | None, told: str) -> Entry:
    size = tensor_bytes(entry.shape, entry.dtype)
    return entry._replace(dtype="F32", scale=scale, told=told, size=size) if scale else entry


def _find_weight(scale: str, entries: Mapping[str, Entry]) -> Iterator[str]:
    """The quantised weight of a scale: of one number, or of one for each channel that the weight makes."""
    for ending in SCALES:
        weight = f"{scale.removesuffix(ending)}.weight"
        if scale.endswith(ending) and weight in entries and entries[weight].dtype in QUANTISED:
            numbers = torch.Size(entries[scale].shape).numel()
            if numbers in (1, *entries[weight].shape[:1]):
                yield weight
