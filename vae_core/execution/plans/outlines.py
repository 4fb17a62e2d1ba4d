"""Outlines of tensors: their shape, dtype, strides and storage, in plain Python.

A tensor on the meta device has as much. But to ask it for its shape takes a microsecond where calls are watched, and to
cut it five; to count what a run takes is to ask and to cut some ten thousand times.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from operator import mul
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function

META = torch.device("meta")
# Methods that are functions of torch, which is asked for these more quickly; others; and those that make nothing.
FUNCTIONS = {
    "__add__": torch.add,
    "__radd__": torch.add,
    "__sub__": torch.sub,
    "__mul__": torch.mul,
    "__rmul__": torch.mul,
    "__truediv__": torch.div,
    "__pow__": torch.pow,
    "__neg__": torch.neg,
    "clone": torch.clone,
    "flatten": torch.flatten,
    "unflatten": torch.unflatten,
    "mean": torch.mean,
    "sum": torch.sum,
}
OPERATORS = (
    "__rsub__", "__rtruediv__", "__floordiv__", "__rfloordiv__", "__mod__", "__rpow__", "__matmul__",
    "__rmatmul__", "__and__", "__or__", "__xor__", "__pos__", "__abs__", "__invert__", "__eq__", "__ne__",
    "__lt__", "__le__", "__gt__", "__ge__",
)  # fmt: skip
IN_PLACE = (
    "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__", "add_", "sub_", "mul_", "div_", "clamp_",
    "clamp_min_", "reciprocal_", "copy_", "zero_",
)  # fmt: skip


class Storage:
    """What outlines lie in, as torch's storages are asked: so many bytes."""

    __slots__ = ("__weakref__", "size")

    def __init__(self, size: int):
        self.size = size

    def nbytes(self) -> int:
        return self.size

    @property
    def _cdata(self) -> int:
        return id(self)


class Outline:
    """What a tensor on the meta device says of itself, and its views; `isinstance` takes it for one.

    What is not here is asked of torch, see `ShapesOnly`: every function that makes a tensor, and rare views.

    steps: its strides; None: one number after the other
    """

    __slots__ = ("__weakref__", "dtype", "shape", "steps", "storage")
    __hash__ = object.__hash__
    __class__: Any = property(lambda self: Tensor)
    is_meta, device, layout = True, META, torch.strided
    requires_grad = is_cuda = is_sparse = is_quantized = is_nested = False

    def __init__(
        self, shape: Sequence[int], dtype: torch.dtype, steps: tuple[int, ...] | None = None,
        storage: Storage | None = None,
    ):  # fmt: skip
        self.shape = shape if type(shape) is torch.Size else torch.Size(shape)
        self.dtype, self.steps = dtype, steps
        self.storage = Storage(self.shape.numel() * dtype.itemsize) if storage is None else storage

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Where nobody watches."""
        return ask_torch(func, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        found = getattr(Tensor, name)
        return partial(_ask_of, found, self) if callable(found) else as_meta(self).__getattribute__(name)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator["Outline"]:
        return iter(self.unbind())

    def __setitem__(self, index: Any, value: Any) -> None:
        pass

    @property
    def data(self) -> "Outline":
        return self

    @data.setter
    def data(self, other: "Outline") -> None:
        self.steps, self.storage = other.steps, other.storage

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.shape.numel() * self.dtype.itemsize

    def dim(self) -> int:
        return len(self.shape)

    def numel(self) -> int:
        return self.shape.numel()

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def untyped_storage(self) -> Storage:
        return self.storage

    def new_empty(self, *size: Any, dtype: torch.dtype | None = None) -> Any:
        return torch.empty(*size, dtype=dtype or self.dtype, device=META)

    def new_zeros(self, *size: Any, dtype: torch.dtype | None = None) -> Any:
        return torch.empty(*size, dtype=dtype or self.dtype, device=META)

    def stride(self, dim: int | None = None) -> Any:
        steps = _steps(self.shape) if self.steps is None else self.steps
        return steps if dim is None else steps[dim]

    def is_contiguous(self, memory_format: torch.memory_format = torch.contiguous_format) -> bool:
        if memory_format is torch.contiguous_format:
            return self.steps is None or _lies(self.shape, self.steps)
        if memory_format is not torch.channels_last or len(self.shape) != 4:
            return as_meta(self).is_contiguous(memory_format=memory_format)
        n, c, h, w = self.stride()
        return _lies(torch.Size([self.shape[i] for i in (0, 2, 3, 1)]), (n, h, w, c))

    def narrow(self, dim: int, start: int, length: int) -> "Outline":
        shape = list(self.shape)
        if not 0 <= length <= shape[dim]:
            raise IndexError(f"{length} of {shape[dim]} cannot be read")
        shape[dim] = length
        return Outline(shape, self.dtype, self.stride(), self.storage)

    def permute(self, *dims: Any) -> "Outline":
        dims = dims if isinstance(dims[0], int) else dims[0]
        shape, steps = self.shape, self.stride()
        return Outline([shape[i] for i in dims], self.dtype, tuple([steps[i] for i in dims]), self.storage)

    def transpose(self, one: int, other: int) -> "Outline":
        dims = list(range(len(self.shape)))
        dims[one], dims[other] = dims[other], dims[one]
        return self.permute(dims)

    def unbind(self, dim: int = 0) -> tuple["Outline", ...]:
        shape, steps = list(self.shape), list(self.stride())
        n, _ = shape.pop(dim), steps.pop(dim)
        return tuple([Outline(shape, self.dtype, tuple(steps), self.storage) for _ in range(n)])

    def chunk(self, chunks: int, dim: int = 0) -> tuple["Outline", ...]:
        return self.split(max(1, -(-self.shape[dim] // chunks)), dim)

    def split(self, sizes: int | Sequence[int], dim: int = 0) -> tuple["Outline", ...]:
        if isinstance(sizes, int):
            n = self.shape[dim]
            sizes = [min(sizes, n - first) for first in range(0, n, sizes)] or [0]
        return tuple([self.narrow(dim, 0, size) for size in sizes])

    def tensor_split(self, parts: Any, dim: int = 0) -> tuple["Outline", ...]:
        if not isinstance(parts, int):
            return _ask_of(Tensor.tensor_split, self, parts, dim)
        each, more = divmod(self.shape[dim], parts)
        return tuple([self.narrow(dim, 0, each + (i < more)) for i in range(parts)])

    def __getitem__(self, given: Any) -> "Outline":
        if type(given) is slice:  # most of all
            n = len(range(*given.indices(self.shape[0])))
            steps = self.stride()
            steps = (steps[0] * (given.step or 1), *steps[1:])
            return Outline((n, *self.shape[1:]), self.dtype, steps, self.storage)
        index: tuple[Any, ...] = given if type(given) is tuple else (given,)
        if any(type(one) not in INDICES for one in index):
            return _ask_of(Tensor.__getitem__, self, index)
        shape, steps = list[int](), list[int]()
        left = list(zip(self.shape, self.stride(), strict=True))
        wanted = sum(one is not None and one is not Ellipsis for one in index)
        one: Any
        for one in index if Ellipsis in index else (*index, Ellipsis):
            if one is None:
                shape.append(1)
                steps.append(left[0][0] * left[0][1] if left else 1)
            elif one is Ellipsis:
                rest = len(left) - wanted
                shape += [n for n, _ in left[:rest]]
                steps += [step for _, step in left[:rest]]
                del left[:rest]
            else:
                (n, step), wanted = left.pop(0), wanted - 1
                if type(one) is slice:
                    shape.append(len(range(*one.indices(n))))
                    steps.append(step * (one.step or 1))
                elif not -n <= one < n:
                    raise IndexError(f"there is no {one} among {n}")
        return Outline(shape, self.dtype, tuple(steps), self.storage)


INDICES = (slice, int, type(None), type(Ellipsis))


def _ask_of(method: Callable[..., Any], x: Outline, *args: Any, **kwargs: Any) -> Any:
    """What a method of tensors gives of an outline, by whoever watches torch's functions."""
    return handle_torch_function(method, (x,), x, *args, **kwargs)


def _as_method(func: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: func(x, *args, **kwargs)


def _define_methods() -> None:
    for name, func in FUNCTIONS.items():
        setattr(Outline, name, _as_method(func))
    for name in OPERATORS:
        setattr(Outline, name, _as_method(partial(_ask_of, getattr(Tensor, name))))
    for name in IN_PLACE:
        setattr(Outline, name, lambda x, *args, **kwargs: x)


_define_methods()


def _steps(shape: torch.Size) -> tuple[int, ...]:
    """Strides of one number after the other."""
    if len(shape) == 4 and 0 not in shape:  # of most
        _, c, h, w = shape
        return c * h * w, h * w, w, 1
    return tuple(accumulate((max(1, n) for n in shape[:0:-1]), mul, initial=1))[::-1] if shape else ()


def _lies(shape: torch.Size, steps: tuple[int, ...]) -> bool:
    """Does one number lie after the other?"""
    expected = 1
    for n, step in zip(reversed(shape), reversed(steps), strict=True):
        if n != 1:
            if step != expected:
                return 0 in shape
            expected *= n
    return True


def find_steps(x: Outline, shape: Sequence[int]) -> tuple[int, ...] | None:
    """Strides of a view of x, which is not empty, in this shape; None: it takes a copy.

    As `computeStride` in pytorch/aten/src/ATen/TensorUtils.cpp.
    """
    if not x.steps:
        return _steps(torch.Size(shape))
    sizes, steps, made, left = x.shape, x.steps, list[int](), list(shape)
    step, read, given = steps[-1], 1, 1
    for dim in range(len(sizes) - 1, -1, -1):
        read *= sizes[dim]
        if dim and (sizes[dim - 1] == 1 or steps[dim - 1] == read * step):
            continue
        while left and (given < read or left[-1] == 1):
            made.append(given * step)
            given *= left.pop()
        if given != read:
            return None
        step, read, given = steps[dim - 1], 1, 1
    return tuple(made[::-1])


def as_meta(x: Outline) -> Tensor:
    """A tensor on the meta device that is as its outline."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=META)


def ask_torch(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What torch's function gives on the meta device: of outlines, outlines. Not to be watched."""
    if not any(type(x) in (Outline, list, tuple) for x in (*args, *kwargs.values())):
        return func(*args, **kwargs)
    asked = _Asked()
    return asked.take(func(*map(asked.give, args), **{key: asked.give(x) for key, x in kwargs.items()}))


class _Asked:
    """Outlines that were given to a function of torch as tensors on the meta device.

    twins  by the key of its storage: such a tensor, and the outline
    own    keys of storages of other tensors
    """

    def __init__(self) -> None:
        self.twins = dict[int, tuple[Tensor, Outline]]()
        self.own = set[int]()

    def give(self, x: Any) -> Any:
        """The argument, for torch."""
        if type(x) is Outline:
            twin = next((twin for twin, one in self.twins.values() if one is x), None)
            twin = as_meta(x) if twin is None else twin
            self.twins[twin.untyped_storage()._cdata] = twin, x
            return twin
        if isinstance(x, Tensor):
            self.own.add(x.untyped_storage()._cdata)
        return type(x)(map(self.give, x)) if type(x) in (list, tuple) else x

    def take(self, y: Any) -> Any:
        """What torch has made, as outlines."""
        if isinstance(y, (list, tuple)) and not isinstance(y, torch.Size):
            return type(y)(map(self.take, y))
        if not isinstance(y, Tensor) or not y.is_meta or not self.twins:
            return y
        if (key := y.untyped_storage()._cdata) in self.own:
            return y
        if key not in self.twins:
            return Outline(y.shape, y.dtype, y.stride(), Storage(y.untyped_storage().nbytes()))
        twin, x = self.twins[key]
        return x if y is twin else Outline(y.shape, y.dtype, y.stride(), x.storage)
