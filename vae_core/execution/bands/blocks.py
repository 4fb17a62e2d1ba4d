"""The flow of an op on blocks of rows: what comes in bands is cut anew."""

from torch import Tensor

from ...ops import Blocks, apply
from ..whole import Observer
from .holding import Flow
from .readers import Reader, Rows, numbers_per_row

# Tensors of a block's size alive while an op on blocks runs: read, padded, three projections, the result.
WITHIN_BLOCK = 8


class InBlocks(Flow):
    """One block after the other, whatever bands its source gives."""

    def __init__(self, op: Blocks, source: Flow, observer: Observer):
        self.op, self.source, self.observer, self.rows = op, source, observer, source.rows
        self.carried = 0

    def read(self, last: bool) -> Rows:
        reader, n = Reader(self.source.read(last)), self.op.block
        self.carried = 0
        heights = [n] * (self.rows // n) + [self.rows % n] * (self.rows % n > 0)
        yield from map(self.apply, map(reader.read, heights))
        reader.finish()

    def apply(self, block: Tensor) -> Tensor:
        self._carry(block)
        self.observer.begin_op(self.op)
        y = apply(self.op, block, in_place=False)
        self.observer.end_op(self.op, y)
        return y

    def _carry(self, block: Tensor) -> None:
        if not self.carried:
            self.carried = WITHIN_BLOCK * self.op.block * numbers_per_row(block)
            self.observer.carry(self.carried)
