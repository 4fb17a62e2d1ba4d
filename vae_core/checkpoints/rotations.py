"""Weights that were rotated before they were quantised, so that no column is much larger than the others: ConvRot.

Groups of columns are multiplied with a regular Hadamard matrix, which is its own inverse, so that is the way back too.
Reference: int8_utils.py of the package that writes and runs such files (Apache-2.0).
"""

import json
from functools import reduce

import torch
from torch import Tensor

from ..errors import BrokenCheckpoint

KNOWN = ("float8_e4m3fn", "float8_e5m2", "int8_tensorwise")  # numbers of 8 bits with a scale, which may be rotated
USUAL_GROUP = 256
MOST_LETTERS = 10_000  # of what stands beside a weight
_H4 = ((1, 1, 1, -1), (1, 1, -1, 1), (1, -1, 1, 1), (-1, 1, 1, 1))


def read_group(told: Tensor, name: str) -> int:
    """How many columns were rotated together; 0: none were.

    told: JSON, as bytes, of how the weight of this name is quantised. Raises BrokenCheckpoint for what is not known.
    """
    try:
        facts = json.loads(bytes(told[:MOST_LETTERS].tolist()))
        more = facts.get("params") or {}
        kind, turned = facts.get("format"), facts.get("convrot", more.get("convrot", False))
        group = int(facts.get("convrot_groupsize", more.get("convrot_groupsize", USUAL_GROUP)))
    except (ValueError, TypeError, AttributeError) as error:
        raise BrokenCheckpoint(f"how '{name}' is quantised cannot be read: {error}.") from error
    if kind not in KNOWN:
        raise BrokenCheckpoint(
            f"'{name}' is quantised as {str(kind)[:40]!r}, which is not supported: get the file in fp16."
        )
    return group if turned else 0


def rotate_back(weight: Tensor, group: int, name: str) -> Tensor:
    """(C', C), as it was before groups of columns were rotated. Raises BrokenCheckpoint if these are no such groups."""
    power = (group.bit_length() - 1) // 2
    if power < 1 or group != 4**power or weight.ndim != 2 or weight.shape[1] % group:
        raise BrokenCheckpoint(f"'{name}' of {tuple(weight.shape)} cannot have been rotated by {group} columns.")
    quarter = torch.tensor(_H4, dtype=weight.dtype)
    matrix = reduce(torch.kron, [quarter] * power) / group**0.5
    return (weight.unflatten(1, (-1, group)) @ matrix).flatten(1)
