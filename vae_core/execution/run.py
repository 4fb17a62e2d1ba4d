"""Run a request as its plan says."""

import torch
from torch import Tensor

from ..ops import Ops, leaves
from . import whole
from .bands import ROWS, Banding, Source, flow
from .plan import DISK, SYSTEM, Plan
from .store import InRooms, InSystemMemory, OnDevice, OnDisk, Store
from .watch import Watch


@torch.no_grad()
def run(ops: Ops, x: Tensor, plan: Plan, watch: Watch, scratch: str | None = None) -> Tensor:
    """ops: fused. x: (B, C, H, W) -> the result in fp32 at least. `scratch`: the folder for what is held on disk."""
    result = torch.empty((len(x), *plan.shape), dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
    if not plan.rows:
        for part, place in zip(x.split(plan.pictures), result.split(plan.pictures), strict=True):
            place.copy_(whole.run(ops, part, watch))
        return result
    store = _store(plan.keep, x.device, scratch)
    try:
        for picture, place in zip(x.split(1), result.split(1), strict=True):
            _in_bands(ops, picture, place, plan, store, watch)
    finally:
        store.close()
    return result


def _in_bands(ops: Ops, x: Tensor, place: Tensor, plan: Plan, store: Store, watch: Watch) -> None:
    norms = list(leaves(ops))
    banding = Banding(plan.numbers, store, frozenset(id(norms[i]) for i in plan.twice))
    row = 0
    for band in flow(ops, Source(x, banding), banding, watch).read(last=True):
        place.narrow(ROWS, row, band.shape[ROWS]).copy_(band)
        row += band.shape[ROWS]


def _store(keep: str, device: torch.device, scratch: str | None) -> Store:
    if keep == DISK:
        return OnDisk(scratch)
    if keep == SYSTEM:
        return InSystemMemory()
    return InRooms() if device.type == "cpu" else OnDevice()
