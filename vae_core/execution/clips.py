"""Run a network on a clip, all frames at once or a few at a time, each time whole or in bands."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TypeGuard, TypeVar

import torch
from torch import Tensor

from ..devices.dtypes import at_least_fp32
from ..devices.numerics import without_grad
from ..families import ClipLaw
from ..images.pixels import lay_out, pad_to, repeat_last_frame
from ..ops import Ops, Temporal, list_looks_ahead
from . import whole
from .bands.holding import Source
from .bands.state import Past
from .bands.stores import Store
from .plans.places import DEVICE
from .plans.plan import Plan
from .rewrite.fuse import fuse
from .run import gather, make_store, run_bands, run_images
from .whole import Observer

T = TypeVar("T")


@torch.no_grad()
def run_batch(ops: Ops, x: Tensor, plan: Plan, observer: Observer, law: ClipLaw | None = None, ratio: int = 1,
              side_input: Tensor | None = None) -> Tensor:  # fmt: skip
    """Images x (B, C, H, W), or clips (B, C, T, H, W) one after the other, of any layout -> the results, as `run.run`.

    ops         of the network, as it gives them
    law, ratio  to encode: by which each clip is continued in time, and each frame at its right and lower edge
    side_input  of images only
    """
    if x.ndim == 4:
        x = lay_out(pad_to(x, ratio))  # here, so that what is only padded does not live on
        return run_images(ops, x, plan, observer, side_input)
    ops = fuse(ops)
    results = torch.empty((len(x), *plan.shape), dtype=at_least_fp32(x.dtype), device=x.device)
    first, step = (law.first, law.step) if law else (1, 1)
    for clip, place in zip(x.transpose(1, 2), results, strict=True):
        if law:
            clip = repeat_last_frame(pad_to(clip, ratio), law.missing(len(clip)))
        clip = clip if plan.frames else lay_out(clip)
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
    at = 0

    def write(result: Iterator[Tensor]) -> int:
        return gather(result, place[at:])

    for frames in _run_parts(ops, split(x, plan.frames, first, step, plan.begins), plan, observer, x.device, write):
        at += frames


@without_grad
def stream(
    ops: Ops, parts: Iterable[Tensor], plan: Plan, observer: Observer, device: torch.device
) -> Generator[Tensor, None, None]:
    """Run one clip that comes part by part, (T, C, H, W) -> the results as they come, (T', C', H', W'), fp32 at least.

    parts  of as many latent frames as the plan says, on the device and in the dtype of the run
    The other arguments and errors are those of `run`. Closing the iterator early gives back what is held.
    """
    made = _run_parts(ops, parts, plan, observer, device, partial(_gather_new, plan.shape[1:]))
    yield from filter(_are_made, made)  # a variable here would hold the last ones while the next are made


def _are_made(frames: Tensor | None) -> TypeGuard[Tensor]:
    return frames is not None


def split(x: Tensor, frames: int, first: int = 1, step: int = 1, begins: int = 0) -> Iterator[Tensor]:
    """A clip (T, C, H, W) in parts of so many latent frames; 0: all in one. first, step: as in `run`.

    begins: see Plan.
    """
    end = (begins or first + step * (frames - 1)) if frames else len(x)
    yield x[:end]
    yield from x[end:].split(step * frames) if len(x) > end else ()


def _run_parts(
    ops: Ops, parts: Iterable[Tensor], plan: Plan, observer: Observer, device: torch.device,
    write: Callable[[Iterator[Tensor]], T],
) -> Generator[T, None, None]:  # fmt: skip
    """What `write` makes of the bands of each part. There are none while ops that look ahead wait for more frames."""
    store = make_store(plan, device)
    past = _begin_past(plan, store) if plan.frames else None
    try:
        end = None
        for part in parts:
            end = part[:0]
            yield write(_run_part(ops, lay_out(part), plan, observer, past))
        if past and end is not None:
            for ending in list_endings(ops, past.most_frames):
                past.ending = ending
                yield write(_run_part(ops, lay_out(end), plan, observer, past))
    finally:
        store.close()


def _begin_past(plan: Plan, store: Store) -> Past:
    return Past(store) if plan.keep == DEVICE else Past(store, max(1, plan.numbers // 2))


def list_endings(ops: Ops, most_frames: Mapping[int, int]) -> Iterator[frozenset[int]]:
    """When a clip has ended, which ops that look ahead are told so, a few at a time, in the order of a run.

    Each then makes the frames that it owes the next. Of so many together no op is given more frames than of a part.
    most_frames: of a part that each op was given, by id; it grows meanwhile
    """
    group, room = set[int](), 1.0
    for op in list_looks_ahead(ops):
        if group and _share(op, most_frames) > room:
            yield frozenset(group)
            group, room = set(), 1.0
        group.add(id(op))
        room -= _share(op, most_frames)
    if group:
        yield frozenset(group)


def _share(op: Temporal, most_frames: Mapping[int, int]) -> float:
    """The frames that the op owes, of those of a part."""
    return op.ahead / max(op.ahead, most_frames.get(id(op), 0))


def _run_part(ops: Ops, x: Tensor, plan: Plan, observer: Observer, past: Past | None) -> Iterator[Tensor]:
    """The result for these frames, in bands (T', C', n, W') from the top; whole, it is one."""
    if not plan.rows:
        y = whole.run(ops, x, observer, past=past, in_place=True)
        observer.end_part(y)
        return iter((y,) if len(y) else ())
    return run_bands(ops, partial(Source, x), plan, observer, x.device, past=past)


def _gather_new(shape: Sequence[int], bands: Iterator[Tensor]) -> Tensor | None:
    """The bands as one tensor of frames of this shape, (C', H', W'), fp32 at least; None if there are none."""
    first = next(bands, None)
    if first is None:
        return None
    exact = at_least_fp32(first.dtype)
    if first.shape[1:] == tuple(shape):
        others = next(bands, None)  # flows keep what is to be known of these frames when they end
        assert others is None
        return first.to(exact)
    result = torch.empty((len(first), *shape), dtype=exact, device=first.device)
    gather(chain((first,), bands), result)
    return result
