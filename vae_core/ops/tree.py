"""The few operations autoencoders are made of.

A network is a tuple of ops, and an op is a callable from tensor to tensor. What makes an op more than a function is
that it says how far it looks. That is all an executor needs to run a network whole or in bands of rows, and to plan it.

    pointwise      any callable                 each pixel on its own
    Window         .rows, .span, .step          a few neighbouring rows
    Blocks         .block                       blocks of so many rows, counted from the top, each alone
    Near           .reach                       the nearest rows, as many at the borders as elsewhere
    FromTop        .begin                       each pixel on its own, and numbers that are drawn for its row
    nn.GroupNorm                                two numbers per group, over the whole image
    Global         (attention)                  every pixel at once
    Temporal       .advance, .end               other frames of a clip
    Residual       .body, .skip                 two paths, added
    SideInput      .side, .join                 a second image, made of the run's input, joined row by row
    Nest           .body, .compute              pieces of the image, each run by itself: tiles, chunks of a clip

Functions and plain torch modules are ops too. What else an op may say of itself is declared on `Op`; of an op that is
no `Op` the defaults are true. `declared(op)` answers for both.

    name             default   read by         meaning
    growth           1.0       bands           numbers of the result for each number that is read
    rows_per_step    1         bands           rows of the result for each row that is read; of a Window, for each step
    in_place         False     executors       `apply_in_place` may write over what is read. Such an op follows one that
                                               makes a new tensor. The executor decides whether it is called.
    keeps_scale      False     rescale_fp16    the result is twice as large if what is read is
    normalizes       False     rescale_fp16    the result does not depend on how large is what it reads
    absorb_scale()             rescale_fp16    of an op that normalizes: the same op for an input of another scale
    temporary_bytes  0         plans           bytes of weights that are made for one run
    passing_bytes    0         plans           bytes of weights that are made at a call, and gone after it
    count_meanwhile  0         plans           numbers made of a band and gone again, if not as many as those of a band
    original         None      errors          the op of the network that this one stands for, after a rewrite
    label            class     errors          what to call an op that is no submodule of the network

    Window           rows, span, step, border                            see rows.py
    Blocks           block, last_conv                                    see rows.py
    Global           memory_grows, over_frames, looks_back, last_conv    see whole_image.py
    Near             reach, over_frames                                  see nearby.py
    Temporal         advance, end, ahead, as_single_frame                see look.py
    Nest             body, compute, ratio, over_frames                   see below, and tiles.py

Shapes are (B, C, H, W), of a clip (T, C, H, W), see time.py; rows are dim -2. Ops compute in the dtype of their input.
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, Union

from torch import Tensor


class Op:
    """What an op says of itself, see the table above. Subclasses are callable: (B, C, H, W) -> (B, C', H', W')."""

    growth: float = 1.0
    rows_per_step: int = 1
    in_place: bool = False
    keeps_scale: bool = False
    normalizes: bool = False
    temporary_bytes: int = 0
    passing_bytes: int = 0
    original: Any = None

    @property
    def label(self) -> str:
        return type(self).__name__

    def count_meanwhile(self, x: Tensor) -> int:
        """Numbers at most that are made of x beside the result and others as large, and gone after it."""
        return 0

    def apply_in_place(self, x: Tensor) -> Tensor:
        """The result, perhaps written over x, which nobody reads any more. Only for ops that say `in_place`."""
        raise NotImplementedError

    def absorb_scale(self, scale: float) -> "Op":
        """The op that makes of `scale` times x what this one makes of x. Only for ops that say `normalizes`."""
        raise NotImplementedError


AnyOp = Union[Op, Callable[[Tensor], Tensor], "Residual", "SideInput"]
Ops = tuple[AnyOp, ...]
_UNDECLARED = Op()


class Function(Op):
    """A function of one tensor as an op, for functions that have something to declare."""

    def __init__(self, function: Callable[[Tensor], Tensor], *, growth: float = 1.0, keeps_scale: bool = False):
        self.function, self.growth, self.keeps_scale = function, growth, keeps_scale

    @property
    def label(self) -> str:
        return self.function.__name__

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)


class Join:
    """A join of a SideInput that can be done in place: x, y (B, C, H, W) -> (B, C, H, W)."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError

    def apply_in_place(self, x: Tensor, y: Tensor) -> Tensor:
        """The result, written over x."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Residual:
    """body(x) + skip(x); an empty skip is x itself.

    bias: (C,), for a run: that of the convolution which ends the body, added with the skip and not before
    """

    body: Ops
    skip: Ops = ()
    bias: Tensor | None = None


@dataclass(frozen=True, eq=False)
class SideInput:
    """join(x, side(what the run was given)): for networks that look at their input again on the way.

    What the side makes has as many rows and columns as x. A run can be given another image to look at than its input.
    A `Join` may write over x, so a SideInput follows an op that makes a new tensor.
    """

    side: Ops
    join: Callable[[Tensor, Tensor], Tensor]


Run = Callable[[Ops, list[Tensor]], Tensor]  # ops on the image in a list, which holds the only reference to it


class Nest(Op):
    """An op that runs others on pieces of what it reads, each by itself, and puts together what they make.

    What is run on a piece sees nothing of the others: norms and attention are those of the piece.

    body         the others
    ratio        (n, m): it makes m rows for every n that it reads
    over_frames  does a piece hold several frames of a clip?
    """

    body: Ops = ()
    ratio: tuple[int, int] = (1, 1)
    over_frames: bool = False

    def compute(self, x: Tensor, run: Run) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W'), of a clip (T, C, H, W) -> (T', C', H', W'). run: by whatever executor"""
        raise NotImplementedError

    def with_body(self, body: Ops) -> "Nest":
        """The same with other ops within."""
        twin = copy(self)
        twin.body = body
        return twin

    def as_single_frame(self) -> Ops:
        """What it comes to on images, that is on clips of one frame. Its body has been made one for them."""
        return (self,)


class FromTop(Op):
    """An op on rows, one after the other, that depends on how many came before: it draws numbers for each.

    `begin` gives a function for the rows of one image, from the top: (T, C, n, W) -> (T, C', n, W).
    """

    def begin(self) -> Callable[[Tensor], Tensor]:
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        return self.begin()(x)


class Block(Protocol):
    """A part of a network that is several ops."""

    def ops(self) -> Ops: ...


def declared(op: AnyOp) -> Op:
    """The op itself if it is an `Op`; for any other callable an `Op` with the defaults."""
    return op if isinstance(op, Op) else _UNDECLARED


def name_original(op: AnyOp, twin: Any) -> Any:
    """The copy remembers which op it is a copy of, not as a submodule: errors name that one."""
    original = declared(op).original
    twin.__dict__["original"] = op if original is None else original
    return twin


def apply(op: AnyOp, x: Tensor, in_place: bool) -> Tensor:
    """The op's result for x, (B, C, H, W) -> (B, C', H', W'). in_place: may it be written over x?"""
    if in_place and isinstance(op, Op) and op.in_place:
        return op.apply_in_place(x)
    return op(x)  # type: ignore[operator]


apply_over, apply_alone = partial(apply, in_place=True), partial(apply, in_place=False)


def apply_join(op: "SideInput", x: Tensor, side: Tensor, in_place: bool) -> Tensor:
    """What a SideInput makes of x and of its side's result, all (B, C, H, W). in_place: may it be written over x?"""
    if in_place and isinstance(op.join, Join):
        return op.join.apply_in_place(x, side)
    return op.join(x, side)


def keeps_scale(function: Callable[[Tensor], Tensor]) -> Function:
    """A function that makes numbers twice as large of numbers twice as large, as an op that says so."""
    return Function(function, keeps_scale=True)


def chain(*parts: Any) -> Ops:
    """The ops of parts that follow one another: a block gives its own ops, an op itself, None nothing."""
    ops: list[AnyOp] = []
    for part in parts:
        if part is not None:
            ops += part.ops() if hasattr(type(part), "ops") else (part,)  # a Block; to ask a Protocol is slow
    return tuple(ops)


def walk(ops: Ops) -> Iterator[AnyOp]:
    """Every op, in the order of a run: a Residual, SideInput or Nest, and after it the ops it is made of."""
    for op in ops:
        yield op
        if isinstance(op, Residual):
            yield from walk(op.skip)
            yield from walk(op.body)
        elif isinstance(op, SideInput):
            yield from walk(op.side)
        elif isinstance(op, Nest):
            yield from walk(op.body)


def leaves(ops: Ops) -> Iterator[AnyOp]:
    """Every op that is made of no others, in the order of a run."""
    return (op for op in walk(ops) if not isinstance(op, (Residual, SideInput, Nest)))


def map_ops(ops: Ops, rewrite: Callable[[Ops], Ops]) -> Ops:
    """Rewrite a tree: `rewrite` is given every tuple of ops, the inner ones first, and gives the tuple to put there."""
    return rewrite(tuple(_map_inside(op, rewrite) for op in ops))


def _map_inside(op: AnyOp, rewrite: Callable[[Ops], Ops]) -> AnyOp:
    if isinstance(op, Residual):
        return replace(op, body=map_ops(op.body, rewrite), skip=map_ops(op.skip, rewrite))
    if isinstance(op, SideInput):
        return SideInput(map_ops(op.side, rewrite), op.join)
    return op.with_body(map_ops(op.body, rewrite)) if isinstance(op, Nest) else op


def has_side_inputs(ops: Ops) -> bool:
    """Does any of these ops look at a second image?"""
    return any(isinstance(op, SideInput) for op in walk(ops))
