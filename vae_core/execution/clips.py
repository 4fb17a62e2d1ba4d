"""Run a network on a clip, all frames at once or a few at a time, each time whole or in bands."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from ..dtypes import at_least_fp32
from ..families import ClipLaw
from ..images.pixels import lay_out, pad_to, repeat_last_frame
from ..ops import Ops, list_looks_ahead
from . import whole
from .bands.flows import Source
from .bands.state import Past
from .plans.request import Plan
from .rewrite.fuse import fuse
from .run import gather, make_store, run_bands, run_images
from .whole import Observer


@torch.no_grad()
def run_batch(ops: Ops, x: Tensor, plan: Plan, observer: Observer, law: ClipLaw | None = None, ratio: int = 1,
              side_input: Tensor | None = None) -> Tensor:  # fmt: skip
    """Images x (B, C, H, W), or clips (B, C, T, H, W) one after the other, of any layout -> the results, as `run.run`.

    ops         of the network, as it gives them
    law, ratio  to encode: by which each clip is continued in time, and each frame at its right and lower edge
    side_input  of images only
    """
    if x.ndim == 4:
        return run_images(ops, pad_to(x, ratio), plan, observer, side_input)
    ops = fuse(ops)
    results = torch.empty((len(x), *plan.shape), dtype=at_least_fp32(x.dtype), device=x.device)
    first, step = (law.first, law.step) if law else (1, 1)
    for clip, place in zip(x.transpose(1, 2), results, strict=True):
        if law:
            clip = repeat_last_frame(pad_to(clip, ratio), law.missing(len(clip)))
        run(ops, clip, plan, observer, first, step, place)
    return results.transpose(1, 2)


@torch.no_grad()
def run(ops: Ops, x: Tensor, plan: Plan, observer: Observer, first: int, step: int, place: Tensor) -> None:
    """Run one clip, x (T, C, H, W), and write its result to place, of the plan's shape (T', C', H', W').

    ops    as `fuse` makes them, on the device and in the dtype of x
    first  frames of x for the first frame of a latent; 1 to decode
    step   frames of x for each later frame of a latent; 1 to decode
    Raises as `run.run` does.
    """
    store = make_store(plan.keep, x.device)
    past = Past(store) if plan.frames else None
    at = 0
    try:
        for part in _split(x, plan.frames, first, step):
            at += _run_part(ops, lay_out(part), plan, observer, past, place[at:])
        if past:
            for past.ending in _list_endings(ops, plan.frames):
                at += _run_part(ops, lay_out(x[:0]), plan, observer, past, place[at:])
    finally:
        store.close()


def _list_endings(ops: Ops, frames: int) -> list[frozenset[int]]:
    """When a clip has ended, which ops that look ahead are told so, a few at a time, in the order of a run.

    Each then makes the frames that it owes the next. Of so many together no op is given more frames than of a part.
    """
    waiting = [id(op) for op in list_looks_ahead(ops)]
    return [frozenset(waiting[i : i + frames]) for i in range(0, len(waiting), frames)]


def _split(x: Tensor, frames: int, first: int, step: int) -> Iterator[Tensor]:
    """The clip in parts of so many latent frames; 0: all in one part."""
    end = first + step * (frames - 1) if frames else len(x)
    yield x[:end]
    yield from x[end:].split(step * frames) if len(x) > end else ()


def _run_part(ops: Ops, x: Tensor, plan: Plan, observer: Observer, past: Past | None, place: Tensor) -> int:
    """Write the result for these frames to place. Returns how many frames it has."""
    if not plan.rows:
        y = whole.run(ops, x, observer, past=past, in_place=True)
        if len(y):
            place[: len(y)] = y
        return len(y)
    return gather(run_bands(ops, partial(Source, x), plan, observer, x.device, past=past), place)
