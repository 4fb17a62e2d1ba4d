"""What is told of a run while it works: for progress, to stop it, to say where it failed, and to plan it."""

from typing import Any

from torch import Tensor


class Observer:
    """Told of every op of a run. Whatever one of these methods raises stops the run."""

    def begin_op(self, op: Any) -> None:
        """The op is about to run on an image, on a band, or on what it has gathered of all bands."""

    def end_op(self, op: Any, result: Tensor) -> None:
        """The op has made this: (B, C, H, W), or a band of it."""

    def carry(self, numbers: int) -> None:
        """A run in bands keeps so many more numbers from one band to the next; fewer, if negative."""
