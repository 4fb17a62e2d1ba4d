"""Weights that were rotated before they were quantised, so that no column is much larger than the others: ConvRot.

Groups of columns are multiplied with a regular Hadamard matrix, which is its own inverse, so that is the way back too.
Reference: int8_utils.py of the package that writes and runs such files (Apache-2.0).
"""

from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ..errors import BrokenCheckpoint
from ..files.reading import parse_json

KNOWN = ("float8_e4m3fn", "float8_e5m2", "int8_tensorwise")  # numbers of 8 bits with a scale, which may be rotated
USUAL_GROUP = 256
MOST_LETTERS = 10**6  # of what is said of all weights of a file
NOTES = "_quantization_metadata"  # in the metadata of files that say it there, of each layer
_H4 = ((1, 1, 1, -1), (1, 1, -1, 1), (1, -1, 1, 1), (-1, 1, 1, 1))


def read_note(said: str, name: str) -> Any:
    """The JSON that stands beside quantised weights. Raises BrokenCheckpoint for what is none."""
    try:
        return parse_json(said[:MOST_LETTERS])
    except ValueError as error:
        raise BrokenCheckpoint(f"how '{name}' is quantised cannot be read: {error}.") from error


def find_layer(notes: Any, name: str) -> Any:
    """What is said of the layer whose weight has this name, if anything is."""
    layers = notes.get("layers") if isinstance(notes, dict) else None
    return layers.get(name.removesuffix(".weight")) if isinstance(layers, dict) else None


def find_group(facts: Any, name: str) -> int:
    """How many columns were rotated together; 0: none were.

    facts: of how the weight of this name is quantised. Raises BrokenCheckpoint for what is not known.
    """
    more = facts.get("params") if isinstance(facts, dict) else None
    facts = {**(more if isinstance(more, dict) else {}), **facts} if isinstance(facts, dict) else {}
    kind, group = facts.get("format"), facts.get("convrot_groupsize", USUAL_GROUP)
    if kind not in KNOWN or not isinstance(group, int):
        raise BrokenCheckpoint(f"'{name}' is quantised as {str(kind)[:40]!r}, which is not supported: get it in fp16.")
    return group if facts.get("convrot") else 0


def rotate_back(weight: Tensor, group: int, name: str) -> Tensor:
    """(C', C), as it was before groups of columns were rotated. Raises BrokenCheckpoint if these are no such groups."""
    power = (group.bit_length() - 1) // 2
    if power < 1 or group != 4**power or weight.ndim != 2 or weight.shape[1] % group:
        raise BrokenCheckpoint(f"'{name}' of {tuple(weight.shape)} cannot have been rotated by {group} columns.")
    quarter = torch.tensor(_H4, dtype=weight.dtype)
    matrix = reduce(torch.kron, [quarter] * power) / group**0.5
    return (weight.unflatten(1, (-1, group)) @ matrix).flatten(1)
