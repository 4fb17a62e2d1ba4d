"""Choose how to run before running: what each way will hold is counted on tensors without numbers.

The executors themselves run on the meta device, over the ops of a twin network without weights, so a plan cannot
disagree with the run about order, shapes or lifetimes. Observers count what is made, stores what is held, and flows say
what they carry from band to band. A plan adds only factors that were measured: bands in flight, gaps in a heap.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from ...ops import LookAround, Nest, Ops, Residual, Window, count_queries, list_norms, walk
from ..bands.pinned import find_page
from ..bands.state import Past
from ..bands.stores import OnDevice
from .alive import Alive, count_alive
from .banded_run import BandedRun
from .counting import MOST_GAPS, WholeRun, count_whole
from .places import DEVICE, DISK, SYSTEM
from .plan import Plan
from .replays import Kinds
from .weights import Weights, count_weights

JOINED = 2  # bands in the largest tensor of a run in bands: one, the rows that are kept before it, those beyond borders
TALLEST = 1.5  # times the numbers that are asked for: of a single band, which others do not make up for
IN_FLIGHT = 8  # bands alive at once between two held images: read, extended, normalized, made, joined, added
# Of a run on a CPU bands are counted one by one: all of an image until what is read twice has been made, if that takes
# few convolutions, and then as many as it takes until all layers have been under way for some time.
FEW_BEFORE, COUNTED_AFTER, COUNTED_ROWS = 80, 12, 256  # convolutions; bands of the result, and rows of it at least
# Else the top of the image. At lower resolutions, where a band of as many numbers is of more rows, it needs a full one;
# and taller ones, of which most is alive if nothing is held beside them.
COUNTED, COUNTED_ON_DISK = 8, 16  # bands
READ_BACK = {DEVICE: 0, SYSTEM: 5, DISK: 3}  # more bands alive than on a CPU: read back, and fetched ahead
AROUND_MEMORY = 2  # bands alive while attention gathers what it remembers: what it reads, and what that was made of
# Of a CPU's peak: what the heap with the largest op may come to, and what it may grow by at least: trimming is slow.
SURE, LEAST_HEAP = 0.95, 1 / 8
# Of bands, in rows of the image, the fastest first. Low bands keep a GPU waiting: an SD-class decode of 1024 px starts
# 2,800 kernels in bands of 64 rows and 11,000 in bands of 16 (counted), each of which takes 6 to 8 us of Python.
HEIGHTS = (512, 256, 128, 64, 32, 16, 8)
# On a CPU low bands are as fast as the whole image or faster: what one op has made is in the caches for the next.
HEIGHTS_ON_CPU = (16, 8)
SMALL = 64  # rows of an image that is not worth cutting
LITTLE = 50 * 2**20  # bytes at most of a run on a CPU that is not worth cutting, without gaps in the heap
# Unless starting the convolutions once more for each band takes this share of the work, and taller bands take little.
TALLER_ON_CPU, SAVED, SHORT = (64, 32), 0.03, 32 * 2**20


class Request:
    """What is to be run.

    ops         on the meta device, as `fuse` makes them for the run
    x           the input on the meta device, (B, C, H, W)
    scale       rows of the image for each row of the input (8 to decode with a VAE of ratio 8, 1 to encode)
    streamed    'input' or 'result' if in bands that one comes or goes row by row, and so is never in memory as a whole
    side_input  what SideInputs read, on the meta device; None: the input
    """

    leaves_gaps = True  # in the heap of a CPU
    bands_first = True  # on a CPU, of larger images
    runs_once = True  # if there is one image
    others = 0  # results that are kept beside those of this run
    unfolds = False  # does the device unfold what convolutions read, see `ops.unfolds`?
    copied = 0  # bytes of the largest weight that is laid out anew before the run, see `count_copied`

    def __init__(self, ops: Ops, x: Tensor, scale: int, streamed: str | None = None, side_input: Tensor | None = None):
        self.ops, self.x, self.scale, self.streamed = ops, x, scale, streamed
        self.side_input = x if side_input is None else side_input
        self.one, self.side = x[:1], self.side_input[:1]
        self.rows = x.shape[-2] * scale
        self.past: Past | None = None
        self.kinds = Kinds()

    @cached_property
    def whole(self) -> Plan:
        """All images at once, on another device than a CPU."""
        return self.plan_whole()

    def plan_whole(self, images: int | None = None, on_cpu: bool = False) -> Plan:
        """Whole, all images at once or only so many at a time."""
        images, run = images or len(self.x), self._whole_run
        share, ends = images / len(self.x), sum(self._end_bytes.values())
        peak, cpu = max(int(run.peak * share) + self.weights.meanwhile, self.copied) + ends, dict[str, int]()
        if on_cpu:
            compiled = int(run.compiled * self._share_compiled(run.by_peak, len(self.x) / images))
            peak, cpu = self._leave_gaps(run.on_cpu * share, run.gaps * share, run.surge * share, compiled, ends)
        largest = max(int(run.largest * share), *self._end_numbers.values())
        made = Plan(images, 0, DEVICE, (), peak, 0, self.work, self.shape, largest=largest)
        return replace(made, scores=int(run.scores * share), **cpu)

    def plan_bands(self, rows: int, keep: str = DEVICE, twice: tuple[int, ...] = (), on_cpu: bool = False) -> Plan:
        """The plan for one image after the other, in bands. on_cpu: is the device a CPU?"""
        counted = self._count(twice)
        numbers = max(1, int(counted.widest * rows))
        tallest = max(numbers, counted.lowest)
        held = counted.count_held(math.ceil(self.rows / rows), find_page(numbers) if keep == SYSTEM else 1)
        on_device = held if keep == DEVICE else 0
        there = [end for end in self._end_numbers if end != self.streamed]
        ends = sum(self._end_bytes[end] for end in there)
        remembered = counted.remembered and counted.remembered + AROUND_MEMORY * tallest * self.x.itemsize
        cpu = dict[str, int]()
        if on_cpu:
            found = self._count_alive(rows, numbers, keep, twice)
            attending = remembered + (counted.attending - counted.remembered if keep == DEVICE else 0)
            alive = max(min(found.most, found.passing + on_device), attending)
            compiled = int(counted.count_compiled(numbers) * self._share_compiled(found.by_peak, len(self.x)))
            peak, cpu = self._leave_gaps(alive, found.gaps, found.surge, compiled, ends)
        else:
            flying = IN_FLIGHT + READ_BACK[keep] + self._apart + TALLEST * counted.unfolded * self.unfolds
            working = (int(flying * tallest) + self.carried) * self.x.itemsize
            peak = max(on_device + max(working, remembered) + self.weights.meanwhile, self.copied) + ends
        joined = max(JOINED, counted.unfolded * self.unfolds) * tallest
        largest = max(int(joined), counted.gathered, *(self._end_numbers[end] for end in there))
        asked = ((min(numbers // c, pixels, count_queries(pixels)), pixels) for c, pixels in counted.attended)
        scores = max(counted.scores, *(queries * pixels for queries, pixels in asked), 0)
        held, work, strips = held - on_device, counted.work, math.ceil(self.rows / rows)
        made = Plan(1, rows, keep, twice, peak, held, work, self.shape, numbers, largest=largest, scores=scores)
        return replace(made, strips=strips, **cpu)

    def propose(
        self, elsewhere: Iterable[str], rows: int | None = None, keep: str | None = None, on_cpu: bool = False
    ) -> Iterator[Plan]:
        """All plans, the fastest first; of no more than `rows` in a band and kept in `keep`, if these are given."""
        in_one = keep is None and (rows is None or self.rows <= rows)
        little = on_cpu and rows is None and in_one and self.bands_first and self.is_little
        last = on_cpu and rows is None and self.rows > SMALL and self.bands_first and not little
        if in_one and not last:
            yield from self._propose_whole(on_cpu, little)
        yield from self.propose_bands(elsewhere, rows, keep, on_cpu)
        if in_one and last:
            yield from self._propose_whole(on_cpu)

    def propose_bands(
        self, elsewhere: Iterable[str], rows: int | None = None, keep: str | None = None, on_cpu: bool = False
    ) -> Iterator[Plan]:
        """The plans in bands."""
        usual = (*self._find_taller(), *HEIGHTS_ON_CPU) if on_cpu else HEIGHTS
        most = self.rows if rows is None else rows
        heights = (*([rows] if rows else []), *(height for height in usual if height < most)) or usual[-1:]
        for place in (DEVICE, *elsewhere) if keep is None else (keep,):
            for height in heights:
                yield self.plan_bands(height, place, on_cpu=on_cpu)
            if place == DEVICE and self.largest_norms:
                yield self.plan_bands(heights[-1], DEVICE, self.largest_norms, on_cpu)

    def _find_taller(self) -> tuple[int, ...]:
        """The height of bands on a CPU that are taller than usual: if they save time, and take little memory."""
        counted = self._count(())
        starts = counted.count_starts(max(1, int(counted.widest * HEIGHTS_ON_CPU[0])))
        for rows in TALLER_ON_CPU:
            numbers = int(counted.widest * rows)
            saved = starts - counted.count_starts(max(1, numbers))
            if saved >= SAVED * counted.work and IN_FLIGHT * numbers * self.x.itemsize <= SHORT:
                return (rows,)
        return ()

    @property
    def is_little(self) -> bool:
        """Takes it little memory on a CPU to run all at once? Half precision takes more there than is counted."""
        largest = self._count(()).widest * self.rows * self.x.itemsize * len(self.x) / len(self.one)
        if self.x.dtype.itemsize < 4 or largest > LITTLE:
            return False
        plan = self.plan_whole(on_cpu=True)
        return plan.peak - plan.gaps <= LITTLE

    def _propose_whole(self, on_cpu: bool, little: bool = False) -> Iterator[Plan]:
        """Whole images: all of them at once, or fewer. on_cpu, little: what subclasses choose by."""
        images = len(self.x)
        while images:
            yield self.plan_whole(images, on_cpu)
            images //= 2

    def _share_compiled(self, by_peak: float, runs: float) -> float:
        """Of what the backend compiles: what is there at the peak. From the second run on it is all."""
        return by_peak if runs == 1 and self.runs_once else 1

    def _leave_gaps(
        self, alive: float, gaps: float, surge: float, compiled: int, ends: int
    ) -> tuple[int, dict[str, int]]:
        """Of a CPU: (the peak, what else a plan says of it).

        alive     bytes at most of a run, without the weights that are made for it
        gaps      bytes that the heap has more when it has most
        surge     bytes at most that come from one op to the next
        compiled  bytes that the backend keeps of the convolutions that it has compiled
        ends      bytes of what is there from first to last: the input, a part of which is the caller's; the result
        """
        gaps = int(min(gaps, MOST_GAPS)) if self.leaves_gaps else 0
        peak = int(ends + max(alive + self.weights.made, self.weights.meanwhile) + gaps + compiled)
        callers = sum(n for end, n in self._end_numbers.items() if end not in ("result", self.streamed))
        heap = int(max(SURE * peak - surge - callers * self.x.itemsize, LEAST_HEAP * peak))
        return peak, {"gaps": gaps, "heap": heap, "compiled": compiled}

    def _count_alive(self, rows: int, numbers: int, keep: str, twice: tuple[int, ...]) -> Alive:
        """What lives on a CPU, counted on the top of a tall image, or until the top of the result is there."""
        key = (numbers, keep == DISK, twice)
        if key not in self._alive:
            few = self._count(twice).count_before(numbers) <= FEW_BEFORE
            top, until = self._find_counted(rows, few, COUNTED_ON_DISK if keep == DISK else COUNTED)
            height = top.shape[-2]
            side = top if self.side_input is self.x else self.side.narrow(-2, 0, height * self.scale)
            taller = self.x.shape[-2] / height
            self._alive[key] = count_alive(
                self.ops, top, side, numbers, keep, twice, self.past, taller, until, self.kinds
            )
        return self._alive[key]

    def _find_counted(self, rows: int, few: bool, bands: int) -> tuple[Tensor, float]:
        """(what is read, how many rows of the result are enough) to count bands of so many rows of the image.

        few    does it take few convolutions until all that is read twice has been made?
        bands  that are counted if not
        """
        if any(isinstance(op, Nest) for op in self.ops):
            return self.one, math.inf  # whose rows of tiles differ in height
        enough = max(COUNTED_AFTER * rows, COUNTED_ROWS) if few else bands * rows
        ratio = self.rows // self.shape[-2]
        if few and ratio <= 1:  # a decoder; the latent of an encoder comes last
            return self.one, enough / self.rows * self.shape[-2]
        height = -(-enough // self.scale)
        return self.one.narrow(-2, 0, min(self.x.shape[-2], -(-height // max(1, ratio)) * max(1, ratio))), math.inf

    @cached_property
    def _alive(self) -> dict[tuple[Any, ...], Alive]:
        return {}

    @cached_property
    def weights(self) -> Weights:
        """What is made or copied of weights."""
        return count_weights(self.ops)

    @cached_property
    def largest_norms(self) -> tuple[int, ...]:
        """The second norms of residual blocks that read the largest images, by number among all norms.

        To compute what they read twice instead of holding it saves most.
        """
        bodies = (op.body for op in walk(self.ops) if isinstance(op, Residual))
        second = {id(op) for body in bodies for op in body[1:] if isinstance(op, nn.GroupNorm)}
        sizes = self._count(()).norm_sizes
        most = max((sizes[norm] for norm in second), default=0)
        return tuple(i for i, op in enumerate(list_norms(self.ops)) if id(op) in second and sizes[id(op)] == most)

    @cached_property
    def _apart(self) -> int:
        """How many more bands are alive: with borders that no backend pads, and with frames around a few at once."""
        pads = any(isinstance(op, Window) and op.border != "constant" for op in walk(self.ops))
        return pads + any(isinstance(op, LookAround) for op in walk(self.ops) if self.past is None)

    @property
    def carried(self) -> int:
        """Numbers at most that windows and shortcuts keep from one band to the next, and that lie around a band."""
        counted = self._count(())
        return counted.most_carried + counted.around

    @property
    def work(self) -> float:
        """Multiplications of one image, or of one clip."""
        return self._whole_run.work * len(self.one) / len(self.x)

    @cached_property
    def _whole_run(self) -> WholeRun:
        side_input = None if self.side_input is self.x else self.side_input
        return count_whole(self.ops, self.x, side_input, self._copy_past(), self.kinds, self.unfolds)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result for one image, by the count that there is already."""
        return self._counts[()].shape if () in self._counts else self._whole_run.shape[1:]

    @cached_property
    def _end_numbers(self) -> dict[str, int]:
        """How many numbers the input has, a side input of its own, and the result."""
        side_input = 0 if self.side_input is self.x else self.side_input.numel()
        results = (len(self.x) + self.others) * math.prod(self.shape)
        return {"input": self.x.numel(), "side_input": side_input, "result": results}

    @property
    def _end_bytes(self) -> dict[str, int]:
        """Their bytes. The result is in fp32 at least.

        The input is there twice: cast as it came, and laid out as the networks read it.
        """
        one = self.x.itemsize
        sizes = {"input": 2 * one, "side_input": one, "result": max(4, one)}
        return {end: n * sizes[end] for end, n in self._end_numbers.items()}

    def _count(self, twice: tuple[int, ...]) -> BandedRun:
        if twice not in self._counts:
            past = self._copy_past()
            self._counts[twice] = BandedRun(self.ops, self.one, self.side, self.rows, twice, past, self.kinds)
        return self._counts[twice]

    def _copy_past(self) -> Past | None:
        """A run brings it up to date, so each count has its own: none depends on another."""
        return self.past and self.past.copy(OnDevice())

    @cached_property
    def _counts(self) -> dict[tuple[int, ...], BandedRun]:
        return {}
