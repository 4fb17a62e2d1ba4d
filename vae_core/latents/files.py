"""Files of latents: `.safetensors` with a tensor `latent`, or the `.latent` files that nodes save.

A `.latent` file holds a tensor `latent_tensor`, and an empty tensor that marks it as not scaled: files from before
March 2023 lack the mark and were multiplied by SD 1's scale. Both kinds may also hold a tag, a mask, and the numbers
that the items had in a larger batch; and more latents, with `_1`, `_2` ... after all names. Other programs ignore
these. foreign.py reads what trainers have kept.
"""

import json
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..devices.numerics import pin_numerics
from ..errors import BadRequest, BrokenCheckpoint, LatentMismatch, say_why, some
from ..files.atomic import Target, write_atomically
from ..files.reading import demand_file
from ..files.safetensors_header import Info, read_header
from ..plain import name_kind
from .foreign import ARCHIVE, add_batch, find_name, guess_tag, read_archive
from .numbers import demand_latent, demand_numbers
from .spaces import SPACES
from .tag import Tag

TAG = "exact_vae"  # metadata: the tag, as JSON
INDEX = "batch_index"  # metadata: a list, as JSON
COUNT = "exact_vae_latents"  # metadata: how many latents there are, if there are several
NODE_SUFFIX, NODE_TENSOR, NODE_MARKER = ".latent", "latent_tensor", "latent_format_version_0"
TENSOR, MASK = "latent", "noise_mask"
SUFFIXES = (NODE_SUFFIX, ".safetensors")  # of files that are written
READABLE = (*SUFFIXES, ARCHIVE)
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")  # in safetensors' words


class StoredLatent(NamedTuple):
    """What a file of a latent holds.

    latent  as it was written, any shape, float32
    tag     None if there is none, or if it does not fit the latent
    mask    as it was written, any shape and dtype
    items   for each item, its number in the batch that it was taken from
    beside  other latents that belong to it, as the sound of a clip
    """

    latent: Tensor
    tag: Tag | None = None
    mask: Tensor | None = None
    items: list[int] | None = None
    beside: tuple["StoredLatent", ...] = ()


@pin_numerics()
def write_latent(
    target: str | Path | Target,
    latent: Tensor,
    tag: Tag | None = None,
    texts: Mapping[str, str] | None = None,
    *,
    mask: Tensor | None = None,
    index: Sequence[int] | None = None,
    beside: Sequence[StoredLatent] = (),
) -> None:
    """Write a latent to a file: a `.latent` if its name ends so, safetensors otherwise.

    latent        any shape, fp16 to fp64; written as it is
    mask          any shape, range and dtype; written as it is
    texts         more entries for the file's metadata
    index         for each item, its number in the batch that it was taken from
    beside        other latents that belong to it, with their tags and masks
    Raises BadRequest if the file cannot be written, LatentMismatch and NumericalOverflow for what is no latent.
    """
    target = Path(target) if isinstance(target, str) else target
    is_node_s = target.suffix.lower() == NODE_SUFFIX
    tensors = {NODE_MARKER: torch.zeros(0, dtype=torch.float32)} if is_node_s else {}
    metadata = {**_demand_texts(texts), **({INDEX: json.dumps(_demand_index(index))} if index else {})}
    metadata |= {COUNT: str(1 + len(beside))} if beside else {}
    for number, one in enumerate([StoredLatent(latent, tag, mask), *beside]):
        demand_numbers(demand_latent(one.latent))
        tensors[_number(NODE_TENSOR if is_node_s else TENSOR, number)] = _to_cpu(one.latent)
        tensors |= {_number(MASK, number): _to_cpu(_demand_mask(one.mask))} if one.mask is not None else {}
        metadata |= {_number(TAG, number): _demand_tag(one.tag).to_json()} if one.tag else {}
    with write_atomically(target) as part:
        part.write_bytes(save(tensors, metadata=metadata))


def _demand_texts(texts: Mapping[str, str] | None) -> Mapping[str, str]:
    """Raises BadRequest unless all of them are texts."""
    texts = texts or {}
    wrong = [name for name, text in texts.items() if not isinstance(name, str) or not isinstance(text, str)]
    if wrong:
        raise BadRequest(f"the entries of a file are texts, and {some(map(repr, wrong))} is not: write it as JSON.")
    return texts


def _demand_tag(tag: object) -> Tag:
    if not isinstance(tag, Tag):
        raise BadRequest(f"a latent is tagged with a Tag, not with {type(tag).__name__}.")
    return tag


def _demand_mask(mask: object) -> Tensor:
    kind = name_kind(mask) if isinstance(mask, Tensor) else type(mask).__name__
    if not isinstance(mask, Tensor) or kind:
        raise BadRequest(f"a mask is a dense tensor, not {kind}.")
    return mask


def _demand_index(index: Sequence[int]) -> list[int]:
    if not all(isinstance(number, Integral) for number in index):
        raise BadRequest(f"items are known by whole numbers, not by {str(index)[:60]}.")
    return [int(number) for number in index]


def _number(name: str, latent: int) -> str:
    """What belongs to the first latent has just its name; what belongs to latent 1, 2 ... has the number after it."""
    return f"{name}_{latent}" if latent else name


@pin_numerics()
def read_latent_file(path: str | Path) -> StoredLatent:
    """Read a file that `write_latent`, a node that saves latents, or a trainer wrote.

    Raises BadRequest if it cannot be read, BrokenCheckpoint if it is damaged, LatentMismatch if it holds no latent.
    """
    path = demand_file(Path(path))
    if path.suffix.lower() == ARCHIVE:
        name, latent = read_archive(path)
        return _tag_foreign(path, add_batch(name, latent.to(torch.float32)))
    names, metadata = _read_names(path)
    name = next((one for one in (TENSOR, NODE_TENSOR) if one in names), None) or find_name(names, path)
    if name is None:
        here = some(names)
        raise LatentMismatch(
            f"'{path}' holds no latent: it needs a tensor '{TENSOR}', '{NODE_TENSOR}' or 'latents', not {here}."
        )
    if name not in (TENSOR, NODE_TENSOR):
        _demand_floats(path, name, names)
        return _tag_foreign(path, add_batch(name, _read_tensors(path, [name])[name].to(torch.float32)))
    count = _count_latents(path, name, names, metadata)
    first, *beside = (_read_one(path, name, i, names, metadata) for i in range(count))
    is_old = name == NODE_TENSOR and NODE_MARKER not in names
    return first._replace(
        latent=first.latent / SPACES["sd1"].scale if is_old else first.latent,
        items=_parse_index(metadata.get(INDEX), len(first.latent)),
        beside=tuple(beside),
    )


def _read_one(
    path: Path, name: str, number: int, names: Mapping[str, Info], metadata: Mapping[str, str]
) -> StoredLatent:
    """Latent 0, 1, 2 ... of a file, with its mask and its tag. name: of the first one's tensor."""
    latent_name, mask_name, tag_name = (_number(one, number) for one in (name, MASK, TAG))
    _demand_floats(path, latent_name, names)
    found = _read_tensors(path, [latent_name, *([mask_name] if mask_name in names else [])])
    latent = demand_latent(found[latent_name].to(torch.float32), f"the latent in '{path}'")
    tag = Tag.from_json(metadata[tag_name]) if tag_name in metadata else None
    return StoredLatent(latent, tag.check(latent) if tag else None, found.get(mask_name))


def _count_latents(path: Path, name: str, names: Mapping[str, Info], metadata: Mapping[str, str]) -> int:
    """How many latents the file holds. Raises BrokenCheckpoint if it says another number than there are."""
    if COUNT not in metadata:
        return 1
    there = next(i for i in range(1, len(names) + 2) if _number(name, i) not in names)
    if metadata[COUNT] != str(there):
        said = metadata[COUNT][:20]
        raise BrokenCheckpoint(f"'{path}' says that it holds {said} latents, but there are {there}: save it again.")
    return there


def _demand_floats(path: Path, name: str, names: Mapping[str, Info]) -> None:
    if names[name]["dtype"] not in FLOATS:
        what = names[name]["dtype"]
        raise LatentMismatch(f"'{path}' holds no latent: its '{name[:80]}' is of {what}, and a latent is of floats.")


def _read_names(path: Path) -> tuple[dict[str, Info], dict[str, str]]:
    try:
        return read_header(path, "a file of a latent")
    except OSError as e:
        raise BadRequest(f"'{path}' cannot be read: {say_why(e)}.") from e


def _tag_foreign(path: Path, latent: Tensor) -> StoredLatent:
    return StoredLatent(demand_latent(latent, f"the latent in '{path}'"), guess_tag(path, latent))


def _read_tensors(path: Path, names: list[str]) -> dict[str, Tensor]:
    """These tensors, copied from the file's memory map."""
    try:
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name).clone() for name in names}
    except (OSError, SafetensorError, NotImplementedError) as e:
        raise BadRequest(f"'{path}' cannot be read: {say_why(e)}.") from e


def read_latent(path: str | Path) -> tuple[Tensor, Tag | None]:
    """(latent of any shape, float32; its tag or None).

    Raises BadRequest for a file that cannot be read, LatentMismatch for one that holds no latent, and BrokenCheckpoint
    for a damaged one.
    """
    return read_latent_file(path)[:2]


def _to_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().resolve_neg().cpu().contiguous()  # safetensors would write what lies in memory


def _parse_index(text: str | None, items: int) -> list[int] | None:
    """The numbers in this JSON list; None if it is no list of one whole number for each item."""
    try:
        found = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    fits = isinstance(found, list) and len(found) == items and all(type(n) is int and n >= 0 for n in found)
    return found if fits else None
