"""Run a request as its plan says."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..ops import Ops, leaves
from . import whole
from .bands import Banding, Flow, Source, flow
from .plan import DISK, SYSTEM, Plan
from .rows import ROWS, Rows
from .store import InRooms, InSystemMemory, OnDevice, OnDisk, Store
from .watch import Watch


@torch.no_grad()
def run(ops: Ops, x: Tensor, plan: Plan, watch: Watch) -> Tensor:
    """ops: fused. x: (B, C, H, W) -> the result in fp32 at least."""
    result = torch.empty((len(x), *plan.shape), dtype=given_out(x.dtype), device=x.device)
    if not plan.rows:
        for part, place in zip(x.split(plan.pictures), result.split(plan.pictures), strict=True):
            place.copy_(whole.run(ops, part, watch))
        return result
    for picture, place in zip(x.split(1), result.split(1), strict=True):
        gather(in_bands(ops, partial(Source, picture), plan, watch, x.device), place)
    return result


@torch.no_grad()
def in_bands(ops: Ops, source: Callable[[Banding], Flow], plan: Plan, watch: Watch, device: torch.device) -> Rows:
    """The result for one picture, band by band from the top. Closing it early gives back what is held for it."""
    store = _store(plan.keep, device)
    store.tidy()
    try:
        norms = list(leaves(ops))
        banding = Banding(plan.numbers, store, frozenset(id(norms[i]) for i in plan.twice))
        yield from flow(ops, source(banding), banding, watch).read(last=True)
    finally:
        store.close()


def gather(bands: Rows, place: Tensor) -> None:
    row = 0
    for band in bands:
        place.narrow(ROWS, row, band.shape[ROWS]).copy_(band)
        row += band.shape[ROWS]


def given_out(dtype: torch.dtype) -> torch.dtype:
    """Results are in fp32 at least, whatever the network computes in."""
    return torch.promote_types(dtype, torch.float32)


def _store(keep: str, device: torch.device) -> Store:
    if keep == DISK:
        return OnDisk()
    if keep == SYSTEM:
        return InSystemMemory()
    return InRooms() if device.type == "cpu" else OnDevice()
