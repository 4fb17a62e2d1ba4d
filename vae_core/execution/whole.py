"""Run a network the ordinary way: the whole image in memory, op after op.

Exactness of every other way of running is measured against this one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from .. import kernels
from ..ops import (
    AnyOp,
    Global,
    Nest,
    Ops,
    Residual,
    SideInput,
    Temporal,
    apply_alone,
    apply_join,
    apply_over,
    has_side_inputs,
)
from .bands.moments import normalize_whole
from .bands.state import Past

# Where torch's own group norm makes a copy of another layout (CUDA), or adds up a whole image in fp32 (CPU). What is
# done on the meta device is counted. On other devices, where neither was measured, torch's own runs.
BY_MOMENTS = ("cpu", "cuda", "meta")


class Observer:
    """Told of every op of a run. Whatever one of these methods raises stops the run."""

    def begin_op(self, op: Any) -> None:
        """The op is about to run on an image, on a band, or on what it has gathered of all bands."""

    def end_op(self, op: Any, result: Tensor) -> None:
        """The op has made this: (B, C, H, W), or a band of it."""

    def run_op(self, op: AnyOp, function: Callable[..., Tensor], *read: Tensor) -> Tensor:
        """What `function(op, *read)` makes, which is all that the op does. It is announced, and shown."""
        self.begin_op(op)
        made = function(op, *read)
        self.end_op(op, made)
        return made

    def run_piece(self, ops: Ops, at: list[Tensor], function: Callable[[Ops, list[Tensor]], Tensor]) -> Tensor:
        """What `function(ops, at)` makes of a piece of an image; at: holds the only reference to it."""
        return function(ops, at)

    def begin_pass(self) -> None:
        """An image is about to be read in bands to its end, to be held or for its statistics.

        Passes nest: what one reads may begin another.
        """

    def carry(self, numbers: int, around: int = 0) -> None:
        """Until this pass ends, a flow keeps so many numbers from one band to the next.

        around: while it makes a band, so many more than others do, of the rows around it
        """

    def end_pass(self) -> None:
        """The last band has been read."""

    def end_part(self, rows: Tensor) -> None:
        """The next rows of the result are finished, (n, C, rows, W): those of n images, or of n frames of a clip."""


class RunContext(NamedTuple):
    """What stays the same during a run, see `run`."""

    observer: Observer
    side_input: Tensor | None
    past: Past | None
    in_place: bool

    def is_idle(self, op: AnyOp, x: Tensor) -> bool:
        """Has the op nothing to do? Of a clip in parts it may be given no frames, if ops before it wait for more."""
        return not len(x) and not (self.past and self.past.ends(op))

    def apply(self, op: AnyOp, x: Tensor) -> Tensor:
        """What the op makes. It is announced, and shown."""
        if self.past and (isinstance(op, Temporal) or (isinstance(op, Global) and op.looks_back)):
            return self._go_on(op, x, self.past)
        if isinstance(op, nn.GroupNorm) and self.in_place and x.device.type in BY_MOMENTS:
            return self.observer.run_op(op, normalize_whole, x)
        return self.observer.run_op(op, apply_over if self.in_place else apply_alone, x)

    def _go_on(self, op: Temporal | Global, x: Tensor, past: Past) -> Tensor:
        """What an op that knows of earlier frames makes of the next; it is not the op's own doing alone."""
        self.observer.begin_op(op)
        made = past.advance(op, x) if isinstance(op, Temporal) else op.recall(x, past.extend_memory(op, op.remember(x)))
        self.observer.end_op(op, made)
        return made


def run(
    ops: Ops,
    x: Tensor,
    observer: Observer | None = None,
    side_input: Tensor | None = None,
    past: Past | None = None,
    in_place: bool = False,
) -> Tensor:
    """The result of all ops for x: (B, C, H, W) -> (B, C', H', W'), or (T, C, H, W) of a clip, in the dtype of x.

    side_input  what SideInputs read, (B, C, H, W); None: x
    past        if x are the next frames of a clip: what is known of those before; it is brought up to date
    in_place    may ops write over the results of ops before them? Not if gradients are wanted
    """
    side_input = x if side_input is None and has_side_inputs(ops) else side_input
    return run_ops(ops, [x], RunContext(observer or Observer(), side_input, past, in_place))


def run_ops(ops: Ops, at: list[Tensor], context: RunContext) -> Tensor:
    """As `run`, for the image in `at`, which holds the only reference to it: it goes as soon as an op has read it."""
    for op in ops:
        if isinstance(op, Residual):
            at.append(_run_residual(op, at, context))
        elif isinstance(op, Nest):
            alone = partial(_run_piece, context._replace(past=None))
            at.append(op.compute(at.pop(), partial(context.observer.run_piece, function=alone)))
        elif isinstance(op, SideInput):
            assert context.side_input is not None
            side = run_ops(op.side, [context.side_input], context)
            at.append(apply_join(op, at.pop(), side, context.in_place))
            del side
        elif not context.is_idle(op, at[0]):
            at.append(context.apply(op, at.pop()))
    return at.pop()


def _run_piece(context: RunContext, ops: Ops, at: list[Tensor]) -> Tensor:
    """What a Nest has run: it knows of no earlier frames, and its own image is the one that is looked at again."""
    side_input = at[0] if has_side_inputs(ops) else None
    return run_ops(ops, at, context._replace(side_input=side_input))


def _run_residual(op: Residual, at: list[Tensor], context: RunContext) -> Tensor:
    skip = run_ops(op.skip, at[:], context)
    y = run_ops(op.body, [at.pop()], context)
    skip = context.past.match(op, skip, len(y)) if context.past else skip
    if not len(y):
        return y
    if op.bias is None and not context.in_place:
        return y + skip
    return add_skip(op, y, skip)


def add_skip(op: Residual, y: Tensor, skip: Tensor) -> Tensor:
    """What the body has made and what the skip has, (B, C, n, W), added; written over the first."""
    return y.add_(skip) if op.bias is None else kernels.add_bias(y, op.bias, skip)
