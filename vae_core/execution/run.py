"""Run a request as its plan says."""

import torch
from torch import Tensor

from ..ops import Ops, leaves
from . import whole
from .bands import ROWS, Banding, Source, flow
from .plan import DISK, SYSTEM, Plan
from .store import InSystemMemory, OnDevice, OnDisk, Store
from .watch import Watch


@torch.no_grad()
def run(
    ops: Ops, x: Tensor, plan: Plan, watch: Watch, scratch: str | None = None, beside: Tensor | None = None
) -> Tensor:
    """x: (B, C, H, W) -> the result in fp32 at least.

    ops      fused
    scratch  the folder for what is held on disk
    beside   what Besides look at (B, C, H, W); None: x
    """
    sides = x if beside is None else beside
    result = torch.empty((len(x), *plan.shape), dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
    if not plan.rows:
        n = plan.pictures
        for part, side, place in zip(x.split(n), sides.split(n), result.split(n), strict=True):
            place.copy_(whole.run(ops, part, watch, side))
        return result
    store = _store(plan.keep, scratch)
    try:
        for picture, side, place in zip(x.split(1), sides.split(1), result.split(1), strict=True):
            _in_bands(ops, picture, side, place, plan, store, watch)
    finally:
        store.close()
    return result


def _in_bands(ops: Ops, x: Tensor, side: Tensor, place: Tensor, plan: Plan, store: Store, watch: Watch) -> None:
    norms = list(leaves(ops))
    banding = Banding(plan.numbers, store, frozenset(id(norms[i]) for i in plan.twice))
    banding = banding._replace(beside=Source(side, banding))
    row = 0
    for band in flow(ops, Source(x, banding), banding, watch).read(last=True):
        place.narrow(ROWS, row, band.shape[ROWS]).copy_(band)
        row += band.shape[ROWS]


def _store(keep: str, scratch: str | None) -> Store:
    if keep == DISK:
        return OnDisk(scratch)
    return InSystemMemory() if keep == SYSTEM else OnDevice()
