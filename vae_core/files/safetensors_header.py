"""The header of a safetensors file: names, dtypes, shapes and offsets, without reading a tensor.

8 bytes of length, a JSON table of that length, then the tensors' bytes (https://github.com/huggingface/safetensors).
A header is not trusted: every entry is checked, and together the entries must cover every byte of the file.
"""

import json
import math
import re
import struct
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import BrokenCheckpoint
from .kinds import EMPTY, ENGINE, FLAX, GGUF, HTML, IMAGES, JSON, LFS, ONNX, TEXT, VIDEO, WORKFLOW, ZEROS, kind_of
from .limits import LARGEST_JSON, MOST_TENSORS

Info = Mapping[str, Any]  # {dtype, shape, data_offsets}

BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F6_E2M3": 6,
        "F6_E3M2": 6, "F4": 4, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8,
        "BOOL": 8, "C64": 64}  # fmt: skip
AGAIN, WEIGHTS = "download it again", "a file of weights"
# What is taken for a safetensors file, and what to do with it; "": as its kind says
OTHERS = {
    **dict.fromkeys(IMAGES, "`exact-vae encode` makes its latent"),
    **dict.fromkeys((WORKFLOW.name, LFS.name, GGUF.name, ONNX.name, ENGINE.name, FLAX.name), ""),
    **dict.fromkeys(("HDF5", "numpy", "gzip", "7z", "rar"), ""),
    HTML.name: "download the file itself, not the page that shows it",
    VIDEO.name: "take a file of weights",
    **dict.fromkeys((ZEROS.name, EMPTY.name, TEXT.name, JSON.name), AGAIN),
}

LARGEST_KEPT = 2**22  # letters of a table that is kept for the next file
FIRST, REST = re.compile(r'\s*\{\s*"__metadata__"\s*:\s*'), re.compile(r'\s*,(?=\s*")')
META = {"__metadata__"}  # beside the tensors
EACH = ('"dtype"', '"shape"', '"data_offsets"')  # is in a header once for each tensor, unless a name occurs twice


def tensor_bytes(shape: tuple[int, ...] | list[int], dtype: str) -> int:
    """Bytes of a tensor; dtype as safetensors names it, a key of BITS."""
    return math.prod(shape) * BITS[dtype] // 8


def read_header(path: Path, wanted: str = WEIGHTS) -> tuple[dict[str, Info], dict[str, str]]:
    """(name -> {dtype, shape, data_offsets}, metadata). Raises BrokenCheckpoint if the header is wrong.

    wanted: what the file was to be, for the sentence about another kind of file
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        n = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= n <= size - 8:
            raise BrokenCheckpoint(_no_header(path, wanted, size, n))
        if n > LARGEST_JSON:
            raise BrokenCheckpoint(f"'{path}' has a header of {n} bytes, and no VAE needs more than {LARGEST_JSON}.")
        text = file.read(n)
    header, metadata, sound = _parse(path, text, size - 8 - n)
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BrokenCheckpoint(f"'{path}' is damaged: the metadata in its header is not text; {AGAIN}.")
    if len(header) > MOST_TENSORS:
        raise BrokenCheckpoint(f"'{path}' names {len(header)} tensors, and no model has more than {MOST_TENSORS}.")
    if not sound:
        _check(path, header, size - 8 - n)
    return dict(header), metadata


def explain_kind(path: Path, wanted: str = WEIGHTS) -> str:
    """What a file is that is none of those, and what to do; '' if its first bytes do not tell."""
    kind = kind_of(path)
    if kind.name not in OTHERS:
        return ""
    return f"'{path}' is {kind.what}, not {wanted}: {OTHERS[kind.name] or kind.advice}."


def _no_header(path: Path, wanted: str, size: int, n: int) -> str:
    if sentence := explain_kind(path, wanted):
        return sentence
    if size < 10:
        return f"'{path}' is no safetensors file: it is only {size} bytes long; {AGAIN}."
    return f"'{path}' is no safetensors file, or cut off: its header would take {n} of its {size} bytes; {AGAIN}."


def _parse(path: Path, text: bytes, data: int) -> tuple[Mapping[str, Any], Any, bool]:
    """(tensors, metadata, is it sure that they fill so many bytes? See `_is_sound`)"""
    try:
        words = text.decode("utf-8")
        begun = _split_metadata(words)
        header, sound = _parse_kept(begun[1], data) if begun else (_parse_table(words), False)
        if begun and not META.isdisjoint(header):  # it is there twice
            begun, header, sound = None, _parse_table(words), False
    except (ValueError, RecursionError) as e:
        raise BrokenCheckpoint(f"'{path}' is damaged: its header cannot be read ({e}); {AGAIN}.") from e
    if not isinstance(header, dict):
        raise BrokenCheckpoint(f"'{path}' is damaged: its header is no table of tensors; {AGAIN}.")
    if begun:
        return header, begun[0], sound
    return {name: header[name] for name in header if name not in META}, header.get("__metadata__", {}), sound


def _split_metadata(words: str) -> tuple[Any, str] | None:
    """(metadata, the table without it) where it comes first, as usual, and the table is none too large to be kept."""
    begin = FIRST.match(words) if len(words) <= LARGEST_KEPT else None
    metadata, end = json.JSONDecoder().raw_decode(words, begin.end()) if begin else (None, 0)
    rest = REST.match(words, end) if begin else None
    return (metadata, f"{{{words[rest.end() :]}") if rest else None


# Models that were fine-tuned have the same tensors in the same places, and a folder is full of them.
@lru_cache(maxsize=2)
def _parse_kept(words: str, data: int) -> tuple[Mapping[str, Any], bool]:
    """(the table, is it sure that its tensors fill so many bytes?) Nobody writes into it."""
    header = _parse_table(words)
    return header, _is_sound(header, data)


def _parse_table(words: str) -> Any:
    """Raises ValueError if a name occurs twice."""
    header = json.loads(words)
    if isinstance(header, dict) and any(words.count(word) != len(header.keys() - META) for word in EACH):
        header = json.loads(words, object_pairs_hook=_unique)  # slow; the words may be names, too
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _check(path: Path, header: Mapping[str, Info], data: int) -> None:
    """Raise BrokenCheckpoint unless the tensors fill the file, one after another, each as long as its shape says."""
    if _is_sound(header, data):
        return
    for name, info in header.items():
        if not name.isprintable():
            raise BrokenCheckpoint(
                f"'{path}' is damaged: it has a tensor with the unprintable name {name[:80]!a}; {AGAIN}."
            )
        if problem := _problem(info):
            raise BrokenCheckpoint(f"'{path}' is damaged: '{name[:80]}' has {problem}; {AGAIN}.")
    end = 0
    for name, info in sorted(header.items(), key=_offsets):
        begin, stop = info["data_offsets"]
        length = tensor_bytes(info["shape"], info["dtype"])
        if begin != end or stop - begin != length:
            raise BrokenCheckpoint(
                f"'{path}' is damaged: '{name[:80]}' takes {length} bytes and should begin at {end}, "
                f"its header says {begin} to {stop}; {AGAIN}."
            )
        end = stop
    if end != data:
        what = "cut off" if data < end else "damaged"
        raise BrokenCheckpoint(
            f"'{path}' is {what}: its header describes {end} bytes of tensors, the file holds {data}; {AGAIN}."
        )


def _is_sound(header: Mapping[str, Info], data: int) -> bool:
    """Is nothing wrong? The same as the long way, which says what, in a quarter of its time."""
    infos = header.values()
    try:
        dtypes, shapes, spans = ([info[key] for info in infos] for key in ("dtype", "shape", "data_offsets"))
        if not _are_plain(infos, dtypes, shapes, spans) or not "".join(header).isprintable():
            return False
        lengths = _measure(dtypes, shapes)
        if [stop - begin for begin, stop in spans] != lengths:
            return False
        ends = [0, *(stop for _, stop in sorted(spans))]
        return ends[-1] == data and ends[:-1] == sorted(begin for begin, _ in spans)
    except (TypeError, KeyError, ValueError):
        return False


def _are_plain(infos: Collection[Any], dtypes: list[Any], shapes: list[Any], spans: list[Any]) -> bool:
    """Tables of three things each: a known dtype, and lists of whole numbers, none below zero."""
    numbers = [*chain.from_iterable(shapes), *chain.from_iterable(spans)]
    kinds = ((infos, dict), (dtypes, str), (shapes, list), (spans, list), (numbers, int))
    return (
        all(set(map(type, these)) <= {kind} for these, kind in kinds)
        and set(map(len, infos)) <= {3}
        and set(dtypes) <= BITS.keys()
        and min(numbers, default=0) >= 0
    )


def _measure(dtypes: list[str], shapes: list[list[int]]) -> list[int]:
    """Bytes of each tensor. Raises ValueError for an impossible shape. Most tensors of a model share a few shapes."""
    known: dict[tuple[str, tuple[int, ...]], int] = {}
    keys = list(zip(dtypes, map(tuple, shapes), strict=True))
    for dtype, shape in set(keys):
        if not _is_possible(shape):
            raise ValueError(shape)
        known[dtype, shape] = tensor_bytes(shape, dtype)
    return [known[key] for key in keys]


def _is_possible(shape: Sequence[int]) -> bool:
    return len(shape) <= 16 and math.prod(n or 1 for n in shape) < 2**63


def _offsets(item: tuple[str, Info]) -> tuple[int, int]:
    begin, stop = item[1]["data_offsets"]
    return begin, stop


def _problem(info: Any) -> str | None:
    """What is wrong with one entry, if anything."""
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        return "no dtype, shape and data_offsets"
    if not isinstance(info["dtype"], str) or info["dtype"] not in BITS:
        return f"the unknown dtype {str(info['dtype'])[:40]!r}"
    if not _are_sizes(info["shape"]) or not _is_possible(info["shape"]):
        return f"the impossible shape {str(info['shape'])[:80]}"
    if not _are_sizes(info["data_offsets"]) or len(info["data_offsets"]) != 2:
        return f"the impossible offsets {str(info['data_offsets'])[:80]}"
    return None


def _are_sizes(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(n) is int and 0 <= n < 2**63 for n in numbers)
