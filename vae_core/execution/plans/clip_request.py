"""Plan clips: all frames at once or a few at a time, each part whole or in bands."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from ...ops import Ops, list_looks_ahead, splits_in_time
from .. import whole
from ..bands.pinned import count_pages, find_page
from ..bands.state import Past
from ..bands.stores import OnDevice
from .counting import MOST_GAPS
from .places import DEVICE, SYSTEM
from .plan import Plan
from .replays import Repeater
from .request import IN_FLIGHT, Request
from .shapes import ShapesOnly

AT_A_TIME = (8, 4, 2, 1)  # latent frames, the fastest first
AT_ONCE = 512 * 2**20  # bytes at most of bands of all frames in flight, on a CPU; more were not measured
# Gaps in the heap of a CPU, as in `counting.py`, of what a part needs: what is held for the next part lies in between.
SCATTERED = 0.4
BANDS_KNOWN = 3  # more of what each op knows, on another device than a CPU: read, left of the one before, on its way


class ClipRequest(Request):
    """Clips to be run, one after the other.

    x      one of them on the meta device, (T, C, H, W)
    clips  how many there are
    first  frames of x for the first frame of a latent; 1 to decode
    step   frames of x for each later frame of a latent; 1 to decode
    copies of one clip beside all of them: laid out as the networks read it, and before that continued, if it must be
    chunk  frames of x in a part, if the network is defined by its parts. 0: any number
    joins  how many more the first of these parts has; None: what is over
    streamed  'input' or 'result' if that one comes or goes part by part: it is run at once only if it has no parts
    """

    def __init__(
        self, ops: Ops, x: Tensor, scale: int, clips: int, first: int, step: int, copies: int = 1,
        streamed: str | None = None, chunk: int = 0, joins: int | None = None,
    ):  # fmt: skip
        super().__init__(ops, x, scale, streamed)
        self.copies = copies
        self.one = self.side = x
        self.clips, self.first, self.step, self.chunk, self.joins = clips, first, step, chunk, joins

    def plan_whole(self, images: int | None = None, on_cpu: bool = False) -> Plan:
        plan = super().plan_whole(images, on_cpu)
        return _leave_more_gaps(plan) if on_cpu and self._has_parts else plan

    def plan_bands(self, rows: int, keep: str = DEVICE, twice: tuple[int, ...] = (), on_cpu: bool = False) -> Plan:
        plan = super().plan_bands(rows, keep, twice, on_cpu)
        return _leave_more_gaps(plan) if on_cpu and self._has_parts else plan

    def propose_bands(
        self, elsewhere: Iterable[str], rows: int | None = None, keep: str | None = None, on_cpu: bool = False
    ) -> Iterator[Plan]:
        """The plans in bands: of one latent frame at a time if the clip can be split, otherwise of all frames.

        On a CPU of all frames first, if nothing was asked for and that takes no more: from band to band a few rows are
        kept of all frames; from part to part a few frames, of whole images.
        """
        lowest, at_once = next(self._parts((1,)), None), super().propose_bands(elsewhere, rows, keep, on_cpu)
        if lowest is None:
            yield from at_once
            return
        parts = (self._combine(lowest, plan, on_cpu) for plan in lowest.propose_bands(elsewhere, rows, keep, on_cpu))
        if not on_cpu or self._comes_in_parts:
            yield from parts
            return
        if rows is not None or keep is not None:
            yield from chain(parts, at_once)
            return
        first, least = next(at_once), self._count_end_bytes(lowest) + lowest.known
        small = IN_FLIGHT * first.numbers * self.x.itemsize <= AT_ONCE
        other = None if small and first.peak <= least else next(parts)  # to count what parts take beside it is slow
        ways = chain((first,), at_once), chain((other,) if other else (), parts)
        yield from chain(*(ways if other is None or (small and first.peak <= other.peak) else reversed(ways)))

    def _propose_whole(self, on_cpu: bool, little: bool = False) -> Iterator[Plan]:
        """Whole frames: all of them at once, or fewer. On a CPU one is work enough, and the caches hold more of it."""
        at_once = (replace(self.plan_whole(on_cpu=on_cpu), images=1) for _ in range(1))
        sizes = (1,) if on_cpu else AT_A_TIME
        parts = (self._combine(part, part.plan_whole(on_cpu=on_cpu), on_cpu) for part in self._parts(sizes))
        if self._has_parts and self._comes_in_parts:
            yield from parts
        else:
            yield from chain(parts, at_once) if on_cpu and not little else chain(at_once, parts)

    @property
    def is_little(self) -> bool:
        return not self._comes_in_parts and super().is_little

    @property
    def _comes_in_parts(self) -> bool:
        return bool(self.streamed or self.chunk)

    @cached_property
    def _has_parts(self) -> bool:
        """Can it be run otherwise than at once?"""
        return len(self.x) > self.begins if self.chunk else self.latents > 1 and splits_in_time(self.ops)

    def _parts(self, sizes: Iterable[int]) -> Iterator["_LaterPart"]:
        """Of so many latent frames each, if there are more in the clip; none if it can only be run at once."""
        if not self._has_parts:
            return iter(())
        return map(self._part, [self.chunk // self.step] if self.chunk else [n for n in sizes if n < self.latents])

    @property
    def begins(self) -> int:
        """Frames of x in the first part of a network that is defined by its parts; 0 for any other."""
        joins = len(self.x) % self.chunk if self.chunk and self.joins is None else self.joins or 0
        return min(len(self.x), self.chunk + joins) if self.chunk else 0

    @property
    def latents(self) -> int:
        """Frames of the latent."""
        return 1 + -(-(len(self.x) - self.first) // self.step)

    def _part(self, n: int) -> "_LaterPart":
        if n not in self._known:
            self._known[n] = _LaterPart(self, n)
        return self._known[n]

    @cached_property
    def _known(self) -> dict[int, "_LaterPart"]:
        return {}

    def _combine(self, part: "_LaterPart", plan: Plan, on_cpu: bool) -> Plan:
        """A plan for one part as the plan for all."""
        more = max(1.0, self.begins / len(part.x))  # the first part may be the largest
        peak = int(plan.tensors * more) + plan.compiled
        plan = replace(plan, peak=peak, held=int(plan.held * more), largest=int(plan.largest * more))
        here = plan.keep == DEVICE
        known = part.known if here else 0
        if plan.rows and not on_cpu:
            known += max(BANDS_KNOWN * part.known // plan.strips, part.count_pieces(plan))
        ends = self._count_end_bytes(part)
        peak = max(plan.peak + known + part.gathered, self.copied) + ends
        peak += min(MOST_GAPS, int(SCATTERED * plan.tensors)) if on_cpu else 0
        held = plan.held + (0 if here else part.count_held(plan))
        numbers = [n for end, n in self._end_numbers.items() if end != self.streamed]
        heap = max(peak - (plan.peak - plan.heap) - self.clips * self.x.nbytes, peak // 4) if on_cpu else 0
        changed = {"peak": peak, "held": held, "largest": max(plan.largest, *numbers), "heap": heap}
        return replace(plan, frames=part.n, begins=self.begins, images=1, work=self.work, shape=self.shape, **changed)

    def _count_end_bytes(self, part: "_LaterPart") -> int:
        """Bytes of the input and the result, of which the streamed one is there only as far as this part needs it."""
        ends = self._end_bytes
        if self.streamed == "input":
            ends = {**ends, "input": (1 + self.copies) * part.x.nbytes}
        elif self.streamed == "result":
            ends = {**ends, "result": math.prod(part.shape) * max(4, self.x.itemsize)}
        return sum(ends.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result for one clip: (T, C, H, W)."""
        return _find_shape(self)

    @cached_property
    def _end_numbers(self) -> dict[str, int]:
        return {"input": self.clips * self.x.numel(), "result": self.clips * math.prod(self.shape)}

    @property
    def _end_bytes(self) -> dict[str, int]:
        result = self._end_numbers["result"] * max(4, self.x.itemsize)
        return {"input": (self.clips + self.copies) * self.x.nbytes, "result": result}


def _find_shape(clip: Request) -> tuple[int, ...]:
    """(T, C, H, W) of the result, by the count that there is already."""
    counted = clip._counts.get(())
    return (counted.frames, *counted.shape) if counted else clip._whole_run.shape


def _leave_more_gaps(plan: Plan) -> Plan:
    """As all frames at once leave them of a clip that has parts: what is carried from band to band lies in between."""
    gaps = min(MOST_GAPS, int(SCATTERED * plan.alive))
    return replace(plan, peak=plan.peak + gaps, heap=plan.heap + gaps)


def _frames(x: Tensor, n: int) -> Tensor:
    """A clip on the meta device of n frames like those of x."""
    return x[:1].expand(n, *x.shape[1:])


class _LaterPart(Request):
    """The last frames of a clip, when all others have gone before.

    Ops that look ahead make nothing until enough frames have come, so the clip is taken to have as many: no part of a
    shorter one takes more.

    known     bytes that are held of these: row_bytes of each op, by its id, and memory_bytes of attention
    gathered  bytes of what attention remembers of them while it is put together: the parts, and the whole
    memories  how many tensors it remembers in all of the clip: keys and values of each part
    """

    leaves_gaps = False  # those in the heap are counted for the clip
    runs_once = False

    def __init__(self, clip: ClipRequest, n: int):
        past = Past(OnDevice())
        before = max(clip.latents - n - 1, sum(op.ahead for op in list_looks_ahead(clip.ops)))
        frames = _frames(clip.x, clip.begins or clip.first + clip.step * before)
        with torch.no_grad(), ShapesOnly():
            whole.run(clip.ops, frames, Repeater(clip.kinds), past=past, in_place=True)
        super().__init__(clip.ops, _frames(clip.x, clip.step * n), clip.scale)
        self.one, self.side, self.kinds, self.unfolds = self.x, self.x, clip.kinds, clip.unfolds
        self.n, self.past, self.row_bytes, self.memory_bytes = n, past, past.row_bytes, past.memory_bytes
        self.known, self.gathered = sum(self.row_bytes.values()) + self.memory_bytes, 2 * self.memory_bytes
        self.memories = 2 * len(past.memories) * -(-clip.latents // n)

    def count_held(self, plan: Plan) -> int:
        """Bytes that what is known takes in system memory, where every band has pages of its own, or on disk."""
        if plan.keep != SYSTEM:
            return self.known
        page = find_page(plan.numbers)
        rows = ((n, self._count_bands(made, n, plan)) for n, made in self._known_and_made())
        return sum(count_pages(size, bands, page) for size, bands in (*rows, (self.memory_bytes, self.memories)))

    def count_pieces(self, plan: Plan) -> int:
        """Bytes of one band of what each op knows, read and not yet let go, while as many are known for the next part.

        At low resolutions, or of one frame, a band is of more rows of the image than the plan says. What is read in one
        piece is let go at once.
        """
        bands = ((n, self._count_bands(made, n, plan)) for n, made in self._known_and_made())
        return sum(n // count for n, count in bands if count > 1)

    def _known_and_made(self) -> Iterator[tuple[int, int]]:
        """Bytes that each op knows, and numbers that it makes of a part."""
        made = self._count(()).made
        most = max(made.values(), default=0)  # residual blocks whose body is behind keep something too
        return ((n, made.get(key, most)) for key, n in self.row_bytes.items() if n)

    def _count_bands(self, made: int, known: int, plan: Plan) -> int:
        """In how many bands an op keeps so many bytes that it knows, if it makes so many numbers of a part."""
        return 1 + max(made // plan.numbers, known // self.x.itemsize // max(1, plan.numbers // 2))

    @cached_property
    def largest_norms(self) -> tuple[int, ...]:
        """None: what ops know of earlier frames is read once, so nothing is computed twice."""
        return ()

    @cached_property
    def _end_numbers(self) -> dict[str, int]:
        """Those of the clip are counted there."""
        return {"input": 0, "result": 0}

    @property
    def shape(self) -> tuple[int, ...]:
        return _find_shape(self)
