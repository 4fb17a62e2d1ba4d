"""Run images as a plan says, whole or in bands of rows, and check the result."""

import math
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ..devices.dtypes import at_least_fp32
from ..devices.numerics import without_grad
from ..errors import NumericalOverflow
from ..families import Half
from ..images.pixels import lay_out
from ..ops import Ops, as_single_frame, list_norms
from . import whole
from .bands.flows import read_flow
from .bands.holding import Banding, Flow, Source
from .bands.pinned import InPinnedMemory
from .bands.readers import ROWS, Rows
from .bands.state import Past
from .bands.stores import InMappedMemory, InSystemMemory, OnDevice, OnDisk, Store
from .plans.places import DISK, SYSTEM
from .plans.plan import Plan
from .rewrite.fuse import fuse
from .whole import Observer


@torch.no_grad()
def run(ops: Ops, x: Tensor, plan: Plan, observer: Observer, side_input: Tensor | None = None) -> Tensor:
    """x: (B, C, H, W) -> (B, C', H', W'), the plan's shape, in fp32 at least, on the device of x.

    ops         as `fuse` makes them, on the device and in the dtype of x
    side_input  what SideInputs read, (B, C, H', W'); None: x
    Raises what the observer raises, what torch raises without memory, and BadRequest if a scratch file is lost.
    """
    sides = x if side_input is None else side_input
    result = torch.empty((len(x), *plan.shape), dtype=at_least_fp32(x.dtype), device=x.device)
    if not plan.rows:
        n = plan.images
        for part, side, place in zip(x.split(n), sides.split(n), result.split(n), strict=True):
            place.copy_(_tell(observer, whole.run(ops, part, observer, side, in_place=True)))
        return result
    for image, side, place in zip(x.split(1), sides.split(1), result.split(1), strict=True):
        gather(run_bands(ops, partial(Source, image), plan, observer, x.device, partial(Source, side)), place)
    return result


def run_images(ops: Ops, x: Tensor, plan: Plan, observer: Observer, side_input: Tensor | None = None) -> Tensor:
    """As `run`, for x of any layout and the ops of a network as it gives them: they are made those of single frames."""
    return run(fuse(as_single_frame(ops)), lay_out(x), plan, observer, side_input)


@without_grad
def run_bands(
    ops: Ops, source: Callable[[Banding], Flow], plan: Plan, observer: Observer, device: torch.device,
    side_input: Callable[[Banding], Flow] | None = None, past: Past | None = None,
) -> Generator[Tensor, None, None]:  # fmt: skip
    """The result for one image, in bands (1, C, n, W) from the top, or (T, C, n, W) for frames of a clip.

    Closing the iterator early gives back what is held for it.

    source      makes the flow that is read
    side_input  makes the flow that SideInputs read; None: the source
    past        of a clip that is run in parts: what is known of the parts before
    """
    store = make_store(plan, device)
    if not (past and past.ending):  # what the end of a clip takes is little, and it has many ends
        store.tidy()
    try:
        norms = list_norms(ops)
        banding = Banding(plan.numbers, store, frozenset(id(norms[i]) for i in plan.twice), past=past)
        banding = banding._replace(side_input=side_input(banding)) if side_input else banding
        yield from map(partial(_tell, observer), read_flow(ops, source(banding), banding, observer))
    finally:
        store.close()


def _tell(observer: Observer, rows: Tensor) -> Tensor:
    observer.end_part(rows)
    return rows


def gather(bands: Rows, place: Tensor) -> int:
    """Copy bands into place, (B, C, H, W), from the top. Returns how many frames they have: 1, or those of a clip.

    A part of a clip may have none.
    """
    row = frames = 0
    for band in bands:
        frames = len(band)
        if frames:
            place[:frames].narrow(ROWS, row, band.shape[ROWS]).copy_(band)
        row += band.shape[ROWS]
    assert row in (0, place.shape[ROWS]), "fewer rows than were announced"
    return frames


def make_store(plan: Plan, device: torch.device) -> Store:
    """The store for bands of a run on this device that the plan keeps there, in system memory or on disk."""
    if plan.keep == DISK:
        return OnDisk()
    if plan.keep == SYSTEM:
        return InPinnedMemory(device, plan.numbers) if device.type == "cuda" else InSystemMemory()
    return InMappedMemory() if device.type == "cpu" else OnDevice()


class Run(Protocol):
    """The VAE that runs, as sentences name it."""

    name: str

    @property
    def dtype(self) -> torch.dtype: ...


def demand_finite(vae: Run, x: Tensor, half: Half) -> None:
    """x: the result of this half, of any shape. Raises NumericalOverflow unless all its numbers are finite."""
    # torch.isfinite would make another tensor of this size. A GPU is waited for once.
    if all(map(math.isfinite, torch.stack((x.amin(), x.amax())).tolist())):
        return
    what = "the image" if half is Half.ENCODER else "the latent"
    cure = "if another file of this VAE does not, this one is damaged"
    if vae.dtype is torch.float16:
        cure = f"{half.verb} it in bf16 or fp32"
    dtype = str(vae.dtype).removeprefix("torch.")
    sentence = f"'{vae.name}' overflowed in {dtype}: {what} was finite, the result is not; {cure}."
    raise NumericalOverflow(sentence, count=int((~torch.isfinite(x)).sum()))


def describe_run(half: Half, shape: Sequence[int], name: str) -> str:
    """ "decoding 1 x 512x512 with 'ae.safetensors'\""""
    return f"{half.doing} {shape[0]} x {shape[-1]}x{shape[-2]} with '{name}'"
