"""What a SideInput joins to an image, read in the image's own bands.

Most sides end in ops that look at each row alone: a 1x1 convolution of z, which has the size of a latent, and repeated
pixels. These run band by band, for the rows of the image that they are joined to. If they came in bands of their own,
every SideInput would keep what is left of one, and a decoder whose norms look at z and hold no image (Kandinsky 6's)
has seventy that are under way together.
"""

import math

import torch
from torch import Tensor, nn

from ...ops import (
    AnyOp,
    Blocks,
    FromTop,
    Global,
    Near,
    Nest,
    Ops,
    Residual,
    SideInput,
    Temporal,
    Window,
    apply_alone,
    declared,
)
from ..whole import Observer
from .readers import ROWS, Reader, Rows

_LOOK_FARTHER = (Blocks, FromTop, Global, Near, Temporal, Nest, Residual, SideInput, nn.GroupNorm)


def split_side(ops: Ops) -> tuple[Ops, Ops]:
    """The ops of a side, and those at its end that look at each row alone: of each they make one or several."""
    last = len(ops)
    while last and _looks_at_its_row(ops[last - 1]):
        last -= 1
    return ops[:last], ops[last:]


def _looks_at_its_row(op: AnyOp) -> bool:
    if isinstance(op, Window):
        return (op.span, op.step, sum(op.rows)) == (1, 1, 0)
    return not isinstance(op, _LOOK_FARTHER)


class RowByRow:
    """Reads any number of rows at a time of what ops make that look at each row alone: of the rows they are made of.

    rows   bands of what the first op reads
    ops    as `split_side` gives them
    keeps  are the bands made for this side? Then what is left of them is announced
    """

    def __init__(self, rows: Rows, ops: Ops, observer: Observer, keeps: bool):
        self.reader, self.ops, self.observer, self.keeps = Reader(rows), ops, observer, keeps
        self.at = self.read_up_to = 0  # the next row of the result, and of what the first op reads
        self.enlarges = math.prod(declared(op).rows_per_step for op in ops) > 1
        self.last: Tensor | None = None  # row that was read: of it there may be more to make

    def read(self, n: int) -> Tensor:
        """The next n rows."""
        spans = [(self.at, self.at + n)]  # of what each op makes, from the last, and of what the first one reads
        for op in reversed(self.ops):
            (first, end), times = spans[-1], declared(op).rows_per_step
            spans.append((first // times, -(-end // times)))
        first, end = spans.pop()
        x = self._read_source(first, end)
        for op, (start, stop) in zip(self.ops, reversed(spans), strict=True):
            x = self.observer.run_op(op, apply_alone, x)
            x = x.narrow(ROWS, start - first * declared(op).rows_per_step, stop - start)
            first = start
        self.at += n
        return x

    def _read_source(self, first: int, end: int) -> Tensor:
        """These rows, of which the first may have been read before."""
        parts = [self.last] if self.last is not None and first < self.read_up_to else []
        if end > self.read_up_to:
            parts.append(self.reader.read(end - self.read_up_to))
        x = parts[0] if len(parts) == 1 else torch.cat(parts, ROWS)
        if self.keeps and not self.at:
            self.observer.carry(x.numel())
        self.read_up_to, self.last = end, x[..., -1:, :].clone() if self.enlarges else None
        return x

    def finish(self) -> None:
        self.reader.finish()
