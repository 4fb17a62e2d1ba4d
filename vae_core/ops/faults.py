"""Versions of torch and cuDNN that are gone around, because they compute wrongly or in many times the memory."""

import re
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

Version = tuple[int, ...]
ALWAYS: Version = (9999,)


class Fault(NamedTuple):
    """A range of versions, the last one of each excluded."""

    torch: tuple[Version, Version]
    cudnn: tuple[Version, Version]
    what: str


# Of convolutions over frames, rows and columns in half precision.
CONV3D = (
    Fault(
        torch=((0,), ALWAYS),
        cudnn=((9, 8), (9, 15)),
        what="cuDNN gives wrong numbers for large clips (pytorch #163539), so torch 2.9 and later leave it and take 3 "
        "to 17 times the memory (pytorch #166643, #166480)",
    ),
    Fault(
        torch=((2, 9, 0), (2, 9, 1)),
        cudnn=((9, 8), ALWAYS),
        what="torch leaves every later cuDNN too (nvidia-cosmos/cosmos-transfer2.5 #227)",
    ),
)


def computes_clips_badly(x: Tensor) -> bool:
    """Is `conv3d` to be gone around for x on CUDA? On the meta device as well, where runs on CUDA are planned."""
    if x.device.type not in ("cuda", "meta") or x.dtype.itemsize != 2 or torch.version.hip:
        return False
    return has_fault(torch.__version__, torch.backends.cudnn.version())


@lru_cache
def has_fault(of_torch: str, of_cudnn: int | None, faults: tuple[Fault, ...] = CONV3D) -> bool:
    """Has this torch, '2.9.1+cu128', with this cuDNN, 91002, one of these faults? None: there is no cuDNN."""
    if of_cudnn is None:
        return False
    versions = parse_torch(of_torch), parse_cudnn(of_cudnn)
    return any(all(a <= v < b for v, (a, b) in zip(versions, one[:2], strict=True)) for one in faults)


def parse_torch(version: str) -> Version:
    """'2.9.1+cu128' -> (2, 9, 1)"""
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


def parse_cudnn(version: int) -> Version:
    """91002 -> (9, 10, 2), as cuDNN has counted since 9.0"""
    return version // 10000, version // 100 % 100, version % 100
