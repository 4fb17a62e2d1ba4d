"""Whoever follows a run: for progress, to stop it, and to say where it failed."""

from typing import Any

from torch import Tensor


class Observer:
    """Told of every op, before it runs and with what it has made; whatever it raises stops the run."""

    def begin_op(self, op: Any) -> None: ...

    def end_op(self, op: Any, x: Tensor) -> None: ...
