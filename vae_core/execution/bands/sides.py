"""What a SideInput joins to an image, read in the image's own bands.

A side often ends in repeated pixels: of z, which has the size of a latent. They are made band by band, for the rows of
the image that they are joined to. If they came in bands of their own, every SideInput would keep what is left of one,
and a decoder whose norms look at z and hold no image (Kandinsky 6's) has seventy that are under way together.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...ops import AnyOp, Blocks, Global, Nest, Ops, Residual, SideInput, Temporal, Window, apply_alone, declared
from ..whole import Observer
from .readers import ROWS, Reader, Rows

_LOOK_FARTHER = (Window, Blocks, Global, Temporal, Nest, Residual, SideInput, nn.GroupNorm)


def split_enlarging(ops: Ops) -> tuple[Ops, Ops]:
    """The ops of a side, and those at its end that make several rows of each, and look at that row alone."""
    last = len(ops)
    while last and not isinstance(ops[last - 1], _LOOK_FARTHER) and declared(ops[last - 1]).rows_per_step > 1:
        last -= 1
    return ops[:last], ops[last:]


class Enlarging:
    """Reads any number of rows at a time of what ops make that enlarge: of the rows that were read for them.

    rows  bands of what is enlarged
    ops   as `split_enlarging` gives them
    """

    def __init__(self, rows: Rows, ops: Sequence[AnyOp], observer: Observer):
        self.reader, self.ops, self.observer = Reader(rows), ops, observer
        self.at = self.small_at = 0  # the next row of the result, and of what is enlarged
        self.last: Tensor | None = None  # row of what is enlarged that was read: of it there may be more to make

    def read(self, n: int) -> Tensor:
        """The next n rows."""
        spans = [(self.at, self.at + n)]  # of what each op makes, from the last, and of what the first one reads
        for op in reversed(self.ops):
            (first, end), times = spans[-1], declared(op).rows_per_step
            spans.append((first // times, -(-end // times)))
        first, end = spans.pop()
        x = self._read_small(first, end)
        for op, (start, stop) in zip(self.ops, reversed(spans), strict=True):
            x = self.observer.run_op(op, apply_alone, x)
            x = x.narrow(ROWS, start - first * declared(op).rows_per_step, stop - start)
            first = start
        self.at += n
        return x

    def _read_small(self, first: int, end: int) -> Tensor:
        """These rows of what is enlarged, of which the first may have been read before."""
        parts = [self.last] if self.last is not None and first < self.small_at else []
        if end > self.small_at:
            parts.append(self.reader.read(end - self.small_at))
        x = parts[0] if len(parts) == 1 else torch.cat(parts, ROWS)
        self.small_at, self.last = end, x[..., -1:, :].clone() if self.ops else None
        return x

    def finish(self) -> None:
        self.reader.finish()
