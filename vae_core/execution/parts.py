"""What is told of a result while the rest of it is still to come."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor


class Part(NamedTuple):
    """A rectangle of a result that is finished: pixels of a decoder, what an encoder gives for a posterior.

    pixels       (n, C, rows, columns), of so many images or frames, in the dtype and on the device of the run, of any
                 range, not yet checked. They are the run's own: read them during the call, and keep nothing of them
    first        the number of the first of these images; frames of clips are counted on from clip to clip
    row, column  where in each image the rectangle begins
    shape        of the whole result, (N, C, H, W), before it is cropped
    """

    pixels: Tensor
    first: int
    row: int
    column: int
    shape: tuple[int, int, int, int]


OnPart = Callable[[Part], None]  # may raise to stop the run


def call_back(function: Callable[..., Any], *args: Any) -> None:
    """Call what a caller has given. Bands pass through iterators, to which a StopIteration of his says that they end.

    It becomes a RuntimeError, as Python makes of one that a generator raises (PEP 479).
    """
    try:
        function(*args)
    except StopIteration as error:
        raise RuntimeError(f"{function!r}, which is told of the run, raised StopIteration") from error


class PartCounter:
    """Knows where the rows belong that a run finishes, which come in order.

    shape   of the result for one image or clip, as a plan has it: (C, H, W) or (T, C, H, W)
    images  of the batch
    """

    def __init__(self, on_part: OnPart, shape: Sequence[int], images: int):
        frames = shape[0] if len(shape) == 4 else 1
        c, h, w = shape[-3:]
        self.on_part, self.shape = on_part, (images * frames, c, h, w)
        self.first = self.row = 0

    def tell(self, rows: Tensor) -> None:
        """rows: (n, C, rows, W), the next of n images or frames. Of a part of a clip there may be none."""
        if not len(rows):
            return
        call_back(self.on_part, Part(rows, self.first, self.row, 0, self.shape))
        self.row += rows.shape[-2]
        if self.row >= self.shape[2]:
            self.first, self.row = self.first + len(rows), 0


def share_on_part(on_part: OnPart | None, run: int, runs: int) -> OnPart | None:
    """What one of so many runs tells of its parts, which are one run to the caller and have results of one shape."""
    if on_part is None:
        return None

    def tell(part: Part) -> None:
        images, *size = part.shape
        on_part(part._replace(first=run * images + part.first, shape=(runs * images, *size)))

    return tell
