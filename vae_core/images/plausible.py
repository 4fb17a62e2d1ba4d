"""Numbers that no image has."""

import math

from torch import Tensor

from ..errors import BadPixels

LARGEST_PIXEL = 100.0  # HDR images exceed 1, some by far; this tells an image in 0...255


def demand_range(x: Tensor, what: str = "these pixels") -> None:
    """Raise BadPixels for NaN, infinity, and numbers beyond any image's.

    x: pixels or an image, of any shape, not empty. what: names x in the sentence, in the plural.
    """
    x = x.detach()
    largest = max(-x.amin().item(), x.amax().item(), key=lambda n: (math.isnan(n), n))
    if not largest < LARGEST_PIXEL:  # also true of NaN
        found = f"reach {largest:g}" if math.isfinite(largest) else "hold NaN or infinity"
        raise BadPixels(f"{what} {found}: an image's must be numbers in [-1, 1] (an IMAGE's in [0, 1]).")
