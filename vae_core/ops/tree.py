"""The few operations autoencoders are made of.

A network is a tuple of ops, and an op is a plain callable from tensor to tensor. What makes an op more
than a function is that it says how far it looks; that one declaration is all an executor needs to run
a network whole, in bands of rows, or to plan either.

    pointwise      a bare function or module    each pixel on its own
    Window         .rows, .span, .step          a few neighbouring rows
    nn.GroupNorm                                two numbers per group, over the whole image
    Global         (attention)                  every pixel at once
    Residual       .body, .skip                 two paths, added
    SideInput         .side, .join                 a second image, made of the run's input, joined row by row

Shapes are (B, C, H, W), of a clip (T, C, H, W), see `temporal`; rows are dim -2.
Activations write in place when no gradient is wanted, so
they must follow an op that makes a new tensor.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, Union

from torch import Tensor

Op = Union[Callable[[Tensor], Tensor], "Residual", "SideInput"]
Ops = tuple[Op, ...]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Residual:
    """body(x) + skip(x); an empty skip is x itself."""

    body: Ops
    skip: Ops = ()


@dataclass(frozen=True, eq=False)
class SideInput:
    """join(x, side(what the run was given)): for networks that look at their input again on the way.

    What the side makes has as many rows and columns as x. A run can be given another image to look at than its input.
    join may write to x, so a SideInput must follow an op that makes a new tensor.
    """

    side: Ops
    join: Callable[[Tensor, Tensor], Tensor]


def chain(*parts: Any) -> Ops:
    """The ops of parts that follow one another: a block gives its own ops, an op itself, None nothing."""
    ops: list[Op] = []
    for part in parts:
        if part is not None:
            ops += part.ops() if hasattr(part, "ops") else (part,)
    return tuple(ops)


def leaves(ops: Ops) -> Iterator[Op]:
    """Every leaf op, in the order of a run."""
    for op in ops:
        if isinstance(op, Residual):
            yield from leaves(op.skip)
            yield from leaves(op.body)
        elif isinstance(op, SideInput):
            yield from leaves(op.side)
        else:
            yield op


def has_side_inputs(ops: Ops) -> bool:
    """Does any of these ops look at a second image?"""
    return any(
        isinstance(op, SideInput) or (isinstance(op, Residual) and has_side_inputs(op.body + op.skip)) for op in ops
    )


def keeps_scale(op: T) -> T:
    """Marks ops, by their class or function: of numbers twice as large they make numbers twice as large."""
    setattr(op, "keeps_scale", True)  # noqa: B010, a type has no such attribute to a type checker
    return op
