"""What is told of a run while it works: for progress, to stop it, to say where it failed, and to plan it."""

from typing import Any

from torch import Tensor


class Observer:
    """Told of every op of a run. Whatever one of these methods raises stops the run."""

    def begin_op(self, op: Any) -> None:
        """The op is about to run on an image, on a band, or on what it has gathered of all bands."""

    def end_op(self, op: Any, result: Tensor) -> None:
        """The op has made this: (B, C, H, W), or a band of it."""

    def begin_pass(self) -> None:
        """An image is about to be read in bands to its end, to be held or for its statistics.

        Passes nest: what one reads may begin another.
        """

    def carry(self, numbers: int) -> None:
        """Until this pass ends, a flow keeps so many numbers from one band to the next."""

    def end_pass(self) -> None:
        """The last band has been read."""
