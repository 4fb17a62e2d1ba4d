"""Report how far a run is, and where it stopped."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from inspect import isroutine
from typing import Any

from torch import Tensor, nn

from ..ops import Op, declared
from .bands.heap import HeapTrimmer
from .parts import OnPart, PartCounter, call_back
from .plans.counting import count_work
from .plans.plan import Plan
from .whole import Observer

Progress = Callable[[int, int], None]  # called with (done, total); may raise to stop the run
TICKS = 1000  # the total that is reported
PATIENCE = 0.5  # seconds after which progress is reported again though nothing has changed, so that it can stop the run


def share_progress(progress: Progress | None, runs: int) -> Sequence[Progress | None]:
    """What each of so many runs reports to, one after the other, which are one to the caller."""

    def report(before: int, done: int, total: int) -> None:
        if progress:
            progress(before * total + done, runs * total)

    return [partial(report, before) if progress else None for before in range(runs)]


class ProgressObserver(Observer):
    """Follows a run from op to op, reports how far it is, knows at which op that is, and keeps the heap to the plan.

    images  of the batch; `plan.work` is that of one
    """

    def __init__(self, network: nn.Module, plan: Plan, images: int, progress: Progress | None,
                 on_part: OnPart | None = None):  # fmt: skip
        self.network, self.progress, self.total = network, progress, plan.work * images
        self.done = 0.0
        self.last_step, self.last_time = -1, 0.0
        self.op: Any = None
        self.heap = HeapTrimmer(plan.heap, plan.gaps)
        self.parts = PartCounter(on_part, plan.shape, images) if on_part else None

    def begin_op(self, op: Any) -> None:
        self.op = op
        self.heap.check()
        self._report()

    def end_op(self, op: Any, result: Tensor) -> None:
        self.done += count_work(op, result)

    def end_part(self, rows: Tensor) -> None:
        if self.parts:
            self.parts.tell(rows)

    def end_run(self) -> None:
        """All is done, whatever was counted."""
        self.done = self.total
        self._report()

    def _report(self) -> None:
        """Every thousandth of the work, and every PATIENCE seconds in between."""
        step = int(TICKS * min(1.0, self.done / self.total)) if self.total else TICKS
        now = time.monotonic()
        if self.progress and (step > self.last_step or now - self.last_time > PATIENCE):
            self.last_step, self.last_time = step, now
            call_back(self.progress, step, TICKS)

    @property
    def where(self) -> str:
        """' at decoder.up.1.block.0.conv2', '' before the first op."""
        if self.op is None:
            return ""
        original = declared(self.op).original
        names = {id(module): name for name, module in self.network.named_modules()}
        name = names.get(id(self.op if original is None else original))
        return f" at {name or _label(self.op)}"


def _label(op: Any) -> str:
    if isinstance(op, Op):
        return op.label
    return op.__name__ if isroutine(op) else type(op).__name__
