"""How large one tensor may be: kernels of GPUs count its numbers in 32 bits."""

import math
from typing import NamedTuple

import torch

# From 2^31 numbers on kernels of CUDA and ROCm fail or answer wrongly (pytorch #80020, #117736, #132300), and cuDNN is
# left for slower ways that take many times the memory (#128947).
INT32 = 2**31
# Metal ends the process over a tensor of more than 2^32 bytes (pytorch #149325), and its attention makes all scores at
# once (#149261).
METAL_BYTES = 2**32


class Limit(NamedTuple):
    """What a device can hold in one tensor.

    numbers      a tensor must have fewer
    with_scores  does its attention make a matrix of all scores?
    """

    numbers: float = math.inf
    with_scores: bool = False

    def measure(self, largest: int, scores: int) -> int:
        """Numbers of the largest tensor that there will be, if the largest matrix of scores would have so many."""
        return max(largest, scores if self.with_scores else 0)

    def explain(self, least: float) -> str:
        """Why there is no way to run. least: numbers of the largest tensor of the way that makes the smallest."""
        have, most = (f"{numbers / 1e9:.2f} billion" for numbers in (least, self.numbers))
        return (
            f"needs a tensor of {have} numbers at least, but its device counts to {most}: use a smaller image or "
            "batch, or a CPU."
        )


NO_LIMIT = Limit()


def find_limit(device: torch.device, dtype: torch.dtype) -> Limit:
    """For a run in this dtype; none on a CPU."""
    if device.type == "cpu":
        return NO_LIMIT
    if device.type == "mps":
        return Limit(min(INT32, METAL_BYTES // max(4, dtype.itemsize)), with_scores=True)  # results are fp32 at least
    return Limit(INT32)
