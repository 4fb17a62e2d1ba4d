"""Choose how to run before running: what each way will hold is counted on tensors without numbers.

The very executors run on the meta device, over the ops of a twin network without weights, so a plan cannot disagree
with the run about order, shapes or lifetimes. What it adds of its own is what lives between two held activations: a few
bands, the rows that windows and shortcuts keep for the next, and what attention remembers.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from ...errors import DoesNotFit
from ...ops import Beside, DoublingConv, Global, OneFrame, Op, Ops, Residual, Window, leaves
from .. import whole
from ..bands.flows import Source, flow, stops
from ..bands.holding import Banding
from ..bands.readers import in_a_row
from ..bands.state import Past
from ..bands.stores import OnDevice
from ..observer import Watch
from .budget import text

DEVICE, SYSTEM, DISK = KEEP = ("device", "system memory", "disk")
IN_FLIGHT = 8  # bands alive at once between two held activations: read, extended, normalised, made, joined, added
# More bands' worth of memory on a CPU: the gaps that tensors of many sizes leave in its heap. Found by measuring, see
# benchmarks/results/time_and_memory_cpu_fp32.md; what is read back from a disk is a new tensor each time.
GAPS_ON_CPU = {DEVICE: 5, DISK: 8}
SUMMED = 3  # times the summed taps of DoublingConvs: made, kept, and laid out anew by the backend at each call
REMEMBERED = 3  # activations alive at once while attention gathers what it remembers
HEIGHTS = (64, 32, 16, 8)  # of bands, in rows of the image, the fastest first
# On a CPU low bands are as fast as the whole image or faster: what one op has made is in the caches for the next.
HEIGHTS_ON_CPU = (16, 8)
SMALL = 64  # rows of an image that is not worth cutting


@dataclass(frozen=True)
class Plan:
    """One way to run a request, and what it takes.

    images  of the batch at a time
    rows      of the image in a band; 0: images run whole
    keep      where bands are held that are read again: 'device', 'system memory' or 'disk'
    twice     group norms (by their number among the leaves) whose input is computed twice instead of held
    peak      bytes on the device at most: input, activations and result, without weights
    held      bytes elsewhere at most, in system memory or on disk
    work      multiplications of one image
    shape     of the result for one image: (C, H, W)
    numbers   in a band
    frames    of a clip's latent at a time; 0: all of them
    """

    images: int
    rows: int
    keep: str
    twice: tuple[int, ...]
    peak: int
    held: int
    work: float
    shape: tuple[int, ...]
    numbers: int = 0
    frames: int = 0

    def __str__(self) -> str:
        """'bands of 32 rows, kept in system memory; at most 812 MiB (and 4.0 GiB of system memory)'"""
        how = "whole" if not self.rows else f"bands of {self.rows} rows, kept {_where(self.keep)}"
        one = f", {self.images} at a time" if self.images > 1 else ""
        one = f", {self.frames} latent frame{'s' * (self.frames > 1)} at a time" if self.frames else one
        again = ", the largest computed twice" if self.twice else ""
        more = f" (and {text(self.held)} of {self.keep})" if self.held else ""
        return f"{how}{one}{again}; at most {text(self.peak)}{more}"


def _where(keep: str) -> str:
    return {DEVICE: "on the device", SYSTEM: "in system memory", DISK: "on disk"}[keep]


class Request:
    """What is to be run: ops on the meta device, fused as they will be, and the input's shape.

    scale     rows of the image to one row of the input (8 to decode with a VAE of ratio 8, 1 to encode)
    streamed  'input' or 'result' if in bands that one comes or goes row by row, and so is never there
    beside    what Besides look at; None: the input
    """

    def __init__(self, ops: Ops, x: Tensor, scale: int, streamed: str | None = None, beside: Tensor | None = None):
        self.ops, self.x, self.scale, self.streamed = ops, x, scale, streamed
        self.beside = x if beside is None else beside
        self.one, self.side = x[:1], self.beside[:1]
        self.rows = x.shape[-2] * scale
        self.past: Past | None = None

    @cached_property
    def whole(self) -> Plan:
        """All images at once."""
        with torch.no_grad():
            peak = whole.peak_bytes(self.ops, self.x, beside=self.beside, past=self.past)[0]
        peak += sum(self._ends.values()) + self.summed
        return Plan(len(self.x), 0, DEVICE, (), peak, 0, self._counted(()).work, self.shape)

    def split(self, images: int) -> Plan:
        """Whole, but only so many images at a time."""
        ends = sum(self._ends.values()) + self.summed
        per_image = (self.whole.peak - ends) / len(self.x)
        return replace(self.whole, images=images, peak=int(per_image * images + ends))

    def in_bands(self, rows: int, keep: str = DEVICE, twice: tuple[int, ...] = (), on_cpu: bool = False) -> Plan:
        """One image after the other, in bands. `on_cpu`: whether the device is one."""
        counted = self._counted(twice)
        numbers = max(1, int(counted.widest * rows))
        alive = IN_FLIGHT + (GAPS_ON_CPU[keep] if on_cpu else 0)
        working = (alive * numbers + self.waiting) * self.x.itemsize
        on_device = counted.held if keep == DEVICE else 0
        ends = sum(size for end, size in self._ends.items() if end != self.streamed)
        peak = max(on_device + working, counted.remembered + on_device) + ends + self.summed
        return Plan(1, rows, keep, twice, peak, counted.held - on_device, counted.work, self.shape, numbers)

    def ways(
        self, elsewhere: Iterable[str], rows: int | None = None, keep: str | None = None, on_cpu: bool = False
    ) -> Iterator[Plan]:
        """All of them, the fastest first; no more than `rows` in a band, only kept in `keep`, if these are given."""
        in_one = keep is None and (rows is None or self.rows <= rows)
        last = on_cpu and rows is None and self.rows > SMALL
        if in_one and not last:
            yield from self._in_one()
        yield from self.banded(elsewhere, rows, keep, on_cpu)
        if in_one and last:
            yield from self._in_one()

    def banded(
        self, elsewhere: Iterable[str], rows: int | None = None, keep: str | None = None, on_cpu: bool = False
    ) -> Iterator[Plan]:
        """The ways in bands."""
        usual = HEIGHTS_ON_CPU if on_cpu else HEIGHTS
        heights = usual if rows is None else (rows, *(height for height in usual if height < rows))
        for place in (DEVICE, *elsewhere) if keep is None else (keep,):
            for height in heights:
                yield self.in_bands(height, place, on_cpu=on_cpu)
            if place == DEVICE and self.largest:
                yield self.in_bands(heights[-1], DEVICE, self.largest, on_cpu)

    def _in_one(self) -> Iterator[Plan]:
        """Whole images: all of them at once, or fewer."""
        yield self.whole
        images = len(self.x) // 2
        while images:
            yield self.split(images)
            images //= 2

    @cached_property
    def summed(self) -> int:
        """Bytes of weights that are made for the run."""
        made = ((op, getattr(op, "made_bytes", 0)) for op in leaves(self.ops))
        return sum(size * (SUMMED if isinstance(op, DoublingConv) else 1) for op, size in made)

    @cached_property
    def largest(self) -> tuple[int, ...]:
        """The norms inside residual blocks at the highest resolution: dropping what they read saves most."""
        return self._counted(()).inner

    @cached_property
    def waiting(self) -> int:
        """Numbers at most that windows and shortcuts keep from one band to the next."""
        with torch.no_grad():
            return _waiting(self.ops, self.one, self.side)[0]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the result for one image."""
        with torch.no_grad():
            return tuple(whole.run(self.ops, self.one, beside=self.side).shape[1:])

    @cached_property
    def _ends(self) -> dict[str, int]:
        """Bytes of the input and of the result, which is given out in fp32 at least."""
        result = len(self.x) * math.prod(self.shape) * max(4, self.x.itemsize)
        beside = 0 if self.beside is self.x else self.beside.nbytes
        return {"input": self.x.nbytes, "beside": beside, "result": result}

    def _counted(self, twice: tuple[int, ...]) -> "_Count":
        if twice not in self._counts:
            self._counts[twice] = _Count(self, twice)
        return self._counts[twice]

    @cached_property
    def _counts(self) -> dict[tuple[int, ...], "_Count"]:
        return {}


class _Count(Watch):
    """One image run in a single band on the meta device."""

    def __init__(self, request: Request, twice: tuple[int, ...]):
        ledger = _Ledger()
        self.work = self.widest = 0.0
        self.remembered = 0
        self.rows = request.rows
        norms = list(leaves(request.ops))
        banding = Banding(2**62, ledger, frozenset(id(norms[i]) for i in twice))
        banding = banding._replace(beside=Source(request.side, banding), past=request.past)
        with torch.no_grad():
            for _ in flow(request.ops, Source(request.one, banding), banding, self).read(last=True):
                pass
        self.held = ledger.most
        self.inner = _inner_norms(request.ops, request.one)

    def made(self, op: Op, x: Tensor) -> None:
        self.work += work(op, x)
        self.widest = max(self.widest, x.numel() / self.rows)
        if isinstance(op, Global) and op.grows:
            self.remembered = max(self.remembered, REMEMBERED * x.nbytes)


class _Ledger(OnDevice):
    """Counts the bytes that are held."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def put(self, band: Tensor) -> "_Counted":
        return _Counted(self, band)


class _Counted:
    def __init__(self, ledger: _Ledger, band: Tensor):
        self.ledger, self.band, self.rows = ledger, band, band.shape[-2]
        ledger.now += band.nbytes
        ledger.most = max(ledger.most, ledger.now)

    def get(self) -> Tensor:
        return self.band

    def release(self) -> None:
        self.ledger.now -= self.band.nbytes


def work(op: Op, made: Tensor) -> float:
    """Multiplications for what an op has made; of ops that do little, the numbers they touch."""
    if isinstance(op, Global):
        return op.work(made)
    if isinstance(op, DoublingConv):
        return made.numel() * op.weight.shape[0] * 4
    pixels = made.numel() // made.shape[1]
    weights = op.parameters() if isinstance(op, nn.Module) else [op.weight] if isinstance(op, OneFrame) else []
    taps = sum(w.numel() for w in weights if w.ndim > 1)
    return float(max(pixels * taps, made.numel()))


def choose(
    request: Request,
    budget: int,
    elsewhere: dict[str, int],
    *,
    rows: int | None = None,
    keep: str | None = None,
    on_cpu: bool = False,
    what: str,
) -> Plan:
    """The fastest plan under the budget. Raises DoesNotFit, saying by how much.

    budget      bytes on the device
    elsewhere   bytes there are in 'system memory' and on 'disk', for those that may be used
    rows, keep  if given, only plans in bands of so many rows at most (whole, if that is all of them), and kept there
    on_cpu      whether the device is one: there bands come first
    what        is run, for the error: "decoding 4096x4096 with 'ae.safetensors'"
    """
    smallest: Plan | None = None
    for plan in request.ways(elsewhere, rows, keep, on_cpu):
        if plan.peak <= budget and plan.held <= elsewhere.get(plan.keep, 0):
            return plan
        smallest = plan if smallest is None or plan.peak < smallest.peak else smallest
    assert smallest is not None
    if smallest.peak <= budget:
        raise DoesNotFit(
            f"{what} under {text(budget)} needs {text(smallest.held)} of {smallest.keep}, but only "
            f"{text(elsewhere.get(smallest.keep, 0))} are free there: make room, or use a larger budget."
        )
    raise DoesNotFit(
        f"{what} needs {text(smallest.peak)} even at its smallest ({smallest}), but only {text(budget)} may be used: "
        "use a smaller image, bf16, or a larger budget."
    )


def _waiting(ops: Ops, x: Tensor, beside: Tensor, now: int = 0) -> tuple[int, int, Tensor]:
    """(the most numbers that wait for the band after, those in the end, the result).

    Where an image is held, what waited before is done with.
    """
    most = now
    for op in ops:
        row = in_a_row(x)
        if isinstance(op, Residual):
            held = stops(op.body)
            behind = sum(op.span - 1 for op in op.body if isinstance(op, Window))  # rows that the shortcut waits for
            _, now, _ = _waiting(op.skip, x, beside, 0 if held else now + behind * row)
            inner, now, x = _waiting(op.body, x, beside, now)
            most = max(most, inner)
        elif isinstance(op, Beside):
            inner, left, _ = _waiting(op.side, beside, beside)
            most, now = max(most, now + inner), now + left
        else:
            now += op.span * row if isinstance(op, Window) else 0
            now = 0 if isinstance(op, nn.GroupNorm) else now
            most, x = max(most, now), op(x)  # type: ignore[operator]
    return most, now, x


def _inner_norms(ops: Ops, x: Tensor) -> tuple[int, ...]:
    """The second norms of residual blocks that read the largest activations, by number among the leaves."""
    numbers = {id(op): i for i, op in enumerate(leaves(ops))}
    found: list[tuple[int, int]] = []

    def walk(ops: Ops, x: Tensor, inside: bool) -> Tensor:
        for n, op in enumerate(ops):
            if isinstance(op, Residual):
                x = walk(op.body, x, True)
            elif not isinstance(op, Beside):  # which changes no shape
                if inside and n and isinstance(op, nn.GroupNorm):
                    found.append((x.nbytes, numbers[id(op)]))
                x = op(x)
        return x

    with torch.no_grad():
        walk(ops, x, False)
    most = max((size for size, _ in found), default=0)
    return tuple(number for size, number in found if size == most)
