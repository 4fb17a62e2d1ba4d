"""What a run takes for weights, beside those of the VAE: some are made for it, and some are copied."""

from typing import NamedTuple

from ...ops import DoublingConv, Ops, declared, leaves

DOUBLING_COPIES = 2  # of the summed taps of one DoublingConv, for a moment: laid out anew by the backend


class Weights(NamedTuple):
    """Bytes.

    made       for the run, and kept while it lasts
    meanwhile  these, and what is made or copied of weights for a moment
    """

    made: int
    meanwhile: int


def count_weights(ops: Ops) -> Weights:
    """ops: on the meta device, as `fuse` makes them."""
    each = [declared(op) for op in leaves(ops)]
    made = sum(op.temporary_bytes for op in each)
    taps = max((op.temporary_bytes for op in each if isinstance(op, DoublingConv)), default=0)
    passing = max((op.passing_bytes for op in each), default=0)
    return Weights(made, made + max(passing, DOUBLING_COPIES * taps))
