"""Tensors that have shapes but no numbers: what torch's functions give of them on the meta device, quickly.

Most of torch's own meta kernels are Python that computes strides nobody reads, and the first of them to run loads
torch's compiler, which takes longer than a first image.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Functions whose result is like their first tensor, those of two tensors or numbers that are broadcast, and reductions.
LIKE_INPUT = frozenset(
    {
        "group_norm",
        "batch_norm",
        "layer_norm",
        "scaled_dot_product_attention",  # of values as wide as queries
        "gelu",
        "sigmoid",
        "tanh",
        "exp",
        "sin",
        "cos",
        "neg",
        "pow",
        "clamp",
        "roll",
        "sqrt",
        "tril",
        "normalize",
        "silu",
        "relu",
        "square",
        "clamp_min",
        "rsqrt",
        "clone",
        "empty_like",
        "zeros_like",
    }
)
BROADCAST = frozenset({"add", "sub", "mul", "div", "addcmul", "__radd__", "__rsub__", "__rmul__", "__rdiv__"})
IN_PLACE = frozenset({"add_", "sub_", "mul_", "div_", "clamp_min_", "reciprocal_", "copy_", "__setitem__", "__iadd__"})
# Functions that make no tensor: most calls by far.
ASKING = frozenset({"__get__", "numel", "__len__", "dim", "untyped_storage", "promote_types", "is_contiguous"})
REDUCTIONS = frozenset({"mean", "sum", "linalg_vector_norm"})


class Census:
    """Told of every tensor that a torch function gives under `ShapesOnly`."""

    def see(self, name: str, made: Tensor, args: Sequence[Any]) -> None:
        """made: what the function of this name has made of these arguments; one of them itself, or a view, too."""


class ShapesOnly(TorchFunctionMode):
    """Within this context the functions listed above make tensors of the right shape and dtype, and no more.

    Numbers that a network computes of its constants on a CPU are computed.

    census: who is told of them
    """

    def __init__(self, census: Census | None = None):
        super().__init__()
        self.census = census

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.__name__
        if name in ASKING:
            return func(*args)
        made = self.make(name, func, args, kwargs or {})
        if self.census and isinstance(made, Tensor):
            self.census.see(name, made, args)
        return made

    def make(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function of this name gives."""
        for x in args:
            if isinstance(x, Tensor) and not x.is_meta:
                return func(*args, **kwargs)
        if name in LIKE_INPUT and "out" not in kwargs:
            return args[0] if kwargs.get("inplace") else _empty(args[0].shape, args[0].dtype)
        if name in IN_PLACE:
            return args[0]
        if name in BROADCAST and kwargs.keys() <= {"out", "alpha"}:
            out = kwargs.get("out")
            return _broadcast(*args) if out is None else out
        if name in REDUCTIONS and isinstance(_find_axis(name, *args[1:], **kwargs), int):
            return _reduce(*args, **kwargs)
        make = MAKERS.get(name, func)
        return make(*args, **kwargs)


def _empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _broadcast(a: Any, b: Any, *more: Any) -> Tensor:
    """An empty tensor of the shape of a + b + ..., and of the dtype of a + b."""
    shapes = {x.shape for x in (a, b, *more) if isinstance(x, Tensor)}
    shape = shapes.pop() if len(shapes) == 1 else torch.broadcast_shapes(*shapes)
    return _empty(shape, torch.result_type(a, b))


def _find_axis(name: str, *given: Any, dim: Any = None, **kwargs: Any) -> Any:
    """The axis or axes of a reduction; None if it is none of the plain calls, x.sum(dim) and x.sum(dim=dim)."""
    if not given:
        return dim
    return given[0] if len(given) == 1 and name != "linalg_vector_norm" else None


def _reduce(x: Tensor, dim: int, *, keepdim: bool = False, dtype: torch.dtype | None = None) -> Tensor:
    """An empty tensor of the shape and dtype of x.sum(dim)."""
    shape = list(x.shape)
    shape[dim : dim + 1 or None] = [1] * keepdim
    return _empty(shape, dtype or x.dtype)


def _join(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """An empty tensor of the shape of torch.cat(tensors, dim), for tensors of one dtype."""
    shape = list(tensors[0].shape)
    shape[dim] = sum(x.shape[dim] for x in tensors)
    return _empty(shape, tensors[0].dtype)


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """An empty tensor of the shape of torch.stack(tensors, dim), for tensors of one dtype."""
    shape = list(tensors[0].shape)
    shape.insert(dim if dim >= 0 else len(shape) + 1 + dim, len(tensors))
    return _empty(shape, tensors[0].dtype)


def _multiply(x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    """An empty tensor of the shape of F.linear's."""
    return _empty((*x.shape[:-1], len(weight)), x.dtype)


def _convolve(
    x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """An empty tensor of the shape of torch.conv2d's."""
    sides = zip(x.shape[-2:], weight.shape[-2:], *map(_pair, (stride, padding, dilation)), strict=True)
    size = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides)
    return _empty((len(x), len(weight), *size), x.dtype)


def _pair(n: Any) -> tuple[int, int]:
    return tuple(n) if isinstance(n, Sequence) else (n, n)


MAKERS = {"cat": _join, "stack": _stack, "linear": _multiply, "conv2d": _convolve}
