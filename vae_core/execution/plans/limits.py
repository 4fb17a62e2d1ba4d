"""How large one tensor may be: kernels of GPUs count its numbers in 32 bits."""

import math
from typing import NamedTuple

import torch

from ...devices.dtypes import at_least_fp32
from ...ops import makes_scores

# From 2^31 numbers on kernels of CUDA and ROCm fail or answer wrongly (pytorch #80020, #117736, #132300), and cuDNN is
# left for slower ways that take many times the memory (#128947).
INT32 = 2**31
METAL_BYTES = 2**32  # Metal ends the process over a larger tensor (pytorch #149325)
SCORE_COPIES = 2  # in fp32 at least: scores, and their softmax


class Limit(NamedTuple):
    """What a device can hold in one tensor.

    numbers      a tensor must have fewer
    score_bytes  that its attention takes for each score; 0 if it makes no matrix of scores
    """

    numbers: float = math.inf
    score_bytes: int = 0

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
    exact = at_least_fp32(dtype).itemsize
    numbers = min(INT32, METAL_BYTES // exact) if device.type == "mps" else INT32  # results are fp32 at least
    return Limit(numbers, SCORE_COPIES * exact if makes_scores(device, dtype) else 0)
