"""Tensors that have shapes but no numbers: what torch's functions give of them on the meta device, quickly.

Most of torch's own meta kernels are Python that computes strides nobody reads, and the first of them to run loads
torch's compiler, which takes longer than a first image.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from .makers import MAKERS, broadcast, find_axis, make_empty, reduce
from .outlines import Outline, ask_torch

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
        "full_like",
    }
)
BROADCAST = frozenset(
    {"add", "sub", "mul", "div", "lerp", "addcmul", "__radd__", "__rsub__", "__rmul__", "__rdiv__", "__rtruediv__"}
)
IN_PLACE = frozenset({"add_", "sub_", "mul_", "div_", "clamp_min_", "reciprocal_", "copy_", "__setitem__", "__iadd__"})
# Functions that make no tensor: most calls by far.
ASKING = frozenset(
    {"__get__", "numel", "__len__", "dim", "untyped_storage", "promote_types", "is_contiguous", "stride"}
)
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
            if type(x) is not Outline and isinstance(x, Tensor) and not x.is_meta:
                return ask_torch(func, args, kwargs)
        if name in LIKE_INPUT:
            made = args[0] if kwargs.get("inplace") else kwargs.get("out")
            return make_empty(args[0].shape, kwargs.get("dtype") or args[0].dtype) if made is None else made
        if name in IN_PLACE:
            return args[0]
        if name in BROADCAST and kwargs.keys() <= {"out", "alpha"}:
            out = kwargs.get("out")
            return broadcast(*args) if out is None else out
        if name in REDUCTIONS and isinstance(find_axis(name, *args[1:], **kwargs), (int, tuple)):
            return reduce(*args, **kwargs)
        made = MAKERS[name](*args, **kwargs) if name in MAKERS else None
        return ask_torch(func, args, kwargs) if made is None else made
