"""What a run tells while it works: how far it is, and where it stopped."""

import time
from collections.abc import Callable
from inspect import isroutine
from typing import Any

from torch import Tensor, nn

from ..ops import Op, declared
from .observer import Observer
from .plans.request import Plan, count_work

Progress = Callable[[int, int], None]
TICKS = 1000  # what progress counts to
PATIENCE = 0.5  # seconds; then it is told again, though nothing has changed: whoever watches may want to stop


class ProgressObserver(Observer):
    """Follows a run from op to op: for progress, and to say where it stopped."""

    def __init__(self, network: nn.Module, plan: Plan, images: int, progress: Progress | None):
        self.network, self.progress, self.total = network, progress, plan.work * images
        self.done, self.told, self.when = 0.0, -1, 0.0
        self.op: Any = None

    def begin_op(self, op: Any) -> None:
        self.op = op
        self._tell()

    def end_op(self, op: Any, result: Tensor) -> None:
        self.done += count_work(op, result)

    def end_run(self) -> None:
        self.done = self.total
        self._tell()

    def _tell(self) -> None:
        """In steps of a part in a thousand; of a run of hours more often."""
        step = int(TICKS * min(1.0, self.done / self.total)) if self.total else TICKS
        now = time.monotonic()
        if self.progress and (step > self.told or now - self.when > PATIENCE):
            self.told, self.when = step, now
            self.progress(step, TICKS)

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
