"""Flows of ops that need the whole image before they give the first row: norms, and attention."""

from functools import partial

from torch import Tensor, nn

from ...ops import Global
from ..whole import Observer
from .holding import Flow, Rereadable
from .moments import find_group_moments, normalize
from .readers import Rows
from .state import Past


class Normalization(Flow):
    """A group norm with the statistics of the whole image: of each frame, or of all frames of a clip."""

    def __init__(self, op: nn.GroupNorm, source: Rereadable, observer: Observer):
        self.op, self.source, self.observer, self.rows = op, source, observer, source.rows

    def read(self, last: bool) -> Rows:
        mean, var = find_group_moments(self.op, self.source.moments())
        yield from map(partial(self.apply, mean, var), self.source.read(last))

    def apply(self, mean: Tensor, var: Tensor, band: Tensor) -> Tensor:
        """mean, var: (1, C), or (T, C) with each frame's own."""
        return self.observer.run_op(self.op, normalize, mean, var, band)


class Attention(Flow):
    """What all pixels say is gathered first, those of earlier frames too if it looks back."""

    def __init__(self, op: Global, source: Flow, past: Past | None, observer: Observer):
        self.op, self.source, self.past, self.observer = op, source, past, observer
        self.rows = source.rows

    def read(self, last: bool) -> Rows:
        self.observer.begin_op(self.op)
        self.observer.begin_pass()
        memory = self.op.merge(self.op.remember(band) for band in self.source.read(last=False))
        self.observer.end_pass()
        memory = self.past.extend_memory(self.op, memory) if self.past else memory
        yield from map(partial(self.apply, memory), self.source.read(last))

    def apply(self, memory: tuple[Tensor, ...], band: Tensor) -> Tensor:
        y = self.op.recall(band, memory)
        self.observer.end_op(self.op, y)
        return y
