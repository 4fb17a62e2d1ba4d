"""What torch's functions give of outlines: of the right shape and dtype, and with the right strides if they matter.

For functions that torch would ask its own meta kernels for, see shapes.py. Each gives None for a call that torch is to
answer.
"""

import math
from collections.abc import Collection, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from .outlines import META, Outline, ask_torch, find_steps


def make_empty(shape: Sequence[int], dtype: torch.dtype) -> Any:
    return Outline(shape, dtype)


def broadcast(a: Any, b: Any, *more: Any) -> Tensor:
    """An empty tensor of the shape of a + b + ..., and of the dtype of a + b."""
    shapes = {x.shape for x in (a, b, *more) if isinstance(x, Tensor)}
    shape = shapes.pop() if len(shapes) == 1 else find_common(shapes)
    return make_empty(shape, _find_dtype(a, b))


def find_common(shapes: Collection[Sequence[int]]) -> Sequence[int]:
    """The shape to which all of these are broadcast. Torch's own function loads its compiler."""
    sides = list(zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1))
    made = [next((n for n in side if n != 1), 1) for side in sides]
    if any(n not in (1, most) for side, most in zip(sides, made, strict=True) for n in side):
        raise RuntimeError(f"shapes {[*map(tuple, shapes)]} do not go together")
    return made[::-1]


def _find_dtype(a: Any, b: Any) -> torch.dtype:
    """Of a + b."""
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Tensor) and one.dtype.is_floating_point:
            same = other.dtype is one.dtype if isinstance(other, Tensor) else isinstance(other, (int, float))
            if same:
                return one.dtype
    return ask_torch(torch.result_type, (a, b), {})


def find_axis(name: str, *given: Any, dim: Any = None, **kwargs: Any) -> Any:
    """The axis or axes of a reduction; None if it is none of the plain calls, x.sum(dim) and x.sum(dim=dim)."""
    if not given:
        return dim
    return given[0] if len(given) == 1 and name != "linalg_vector_norm" else None


def reduce(x: Tensor, dim: int | tuple[int, ...], *, keepdim: bool = False, dtype: torch.dtype | None = None) -> Tensor:
    """An empty tensor of the shape and dtype of x.sum(dim)."""
    summed = {axis % x.ndim for axis in (dim if isinstance(dim, tuple) else (dim,))} or {*range(x.ndim)}
    shape = [1 if axis in summed else n for axis, n in enumerate(x.shape) if keepdim or axis not in summed]
    return make_empty(shape, dtype or x.dtype)


def _join(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    """An empty tensor of the shape of torch.cat(tensors, dim), for tensors of one dtype. None: they have numbers."""
    if not tensors[0].is_meta:
        return None
    shape = list(tensors[0].shape)
    shape[dim] = sum(x.shape[dim] for x in tensors)
    return make_empty(shape, tensors[0].dtype)


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    """An empty tensor of the shape of torch.stack(tensors, dim), for tensors of one dtype. None: they have numbers."""
    if not tensors[0].is_meta:
        return None
    shape = list(tensors[0].shape)
    shape.insert(dim if dim >= 0 else len(shape) + 1 + dim, len(tensors))
    return make_empty(shape, tensors[0].dtype)


def _multiply(x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    """An empty tensor of the shape of F.linear's."""
    return make_empty((*x.shape[:-1], len(weight)), x.dtype)


def _convolve(
    x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """An empty tensor of the shape of torch.conv2d's or torch.conv3d's."""
    kernel = weight.shape  # asked once: it is a real tensor, and answers by way of whoever watches
    sides = x.shape[2:], kernel[2:], *(_each(n, x.ndim - 2) for n in (stride, padding, dilation))
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(*sides, strict=True)]
    return make_empty((x.shape[0], kernel[0], *size), x.dtype)


def _convolve_transposed(
    x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """An empty tensor of the shape of torch.conv_transpose2d's."""
    sides = x.shape[2:], weight.shape[2:], *(_each(n, 2) for n in (stride, padding, output_padding, dilation))
    size = ((n - 1) * s - 2 * p + d * (k - 1) + more + 1 for n, k, s, p, more, d in zip(*sides, strict=True))
    return make_empty((len(x), weight.shape[1] * groups, *size), x.dtype)


def _each(n: Any, sides: int) -> Sequence[int]:
    return (n,) * sides if type(n) is int else n


def _pad(x: Any, sides: Sequence[int], mode: str = "constant", value: Any = None) -> Any:
    """An empty tensor of the shape of F.pad's."""
    shape = list(x.shape)
    for i in range(len(sides) // 2):
        shape[-1 - i] += sides[2 * i] + sides[2 * i + 1]
    return make_empty(shape, x.dtype) if mode != "constant" else _lay_out_like(x, shape)


def _interpolate(x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **how: Any) -> Any:
    """An empty tensor of the shape of F.interpolate's. None: of another call than to so many times the size."""
    if not isinstance(scale_factor, float) or mode != "nearest":
        return None
    return _lay_out_like(x, (*x.shape[:2], *(int(n * scale_factor) for n in x.shape[2:])))


def _lay_out_like(x: Any, shape: Sequence[int]) -> Any:
    """An empty tensor of this shape, in channels last if x lies so. None: torch is to say it."""
    if x.ndim != 4:
        return make_empty(shape, x.dtype) if x.is_contiguous() else None
    steps, least = x.stride(), 0
    for dim in (1, 3, 2, 0):  # as `is_channels_last_strides_2d_s4` in pytorch/c10/core/MemoryFormat.h
        if x.shape[dim] == 0 or steps[dim] < least or (dim == 0 and least == steps[1]):
            return make_empty(shape, x.dtype)
        least = steps[dim] * max(1, x.shape[dim])
    return _empty_last(shape, x.dtype) if steps[1] else make_empty(shape, x.dtype)


def _empty_last(shape: Sequence[int], dtype: torch.dtype) -> Any:
    """(B, C, H, W) in channels last."""
    _, c, h, w = shape
    return Outline(shape, dtype, (c * h * w, 1, c * w, c))


def _make(
    *size: Any, dtype: torch.dtype | None = None, device: Any = None, memory_format: Any = None, **how: Any
) -> Any:
    """As torch.empty on the meta device. None: elsewhere."""
    if how or not size or device not in (META, "meta") or dtype is None:
        return None
    size = size if isinstance(size[0], int) else size[0]
    if memory_format is torch.channels_last:
        return _empty_last(size, dtype)
    return make_empty(size, dtype) if memory_format is None else None


def _make_like(x: Tensor, *size: Any, dtype: torch.dtype | None = None, **how: Any) -> Any:
    """As x.new_empty. None: elsewhere."""
    return None if how or not size else make_empty(size if isinstance(size[0], int) else size[0], dtype or x.dtype)


def _cast(x: Any, *to: Any, **how: Any) -> Any:
    """As x.to(dtype). None: it is another call, or may lie otherwise."""
    if how or len(to) != 1 or not isinstance(to[0], torch.dtype):
        return None
    if x.dtype is to[0]:
        return x
    return make_empty(x.shape, to[0]) if x.is_contiguous() else None


def _reshape(x: Any, *shape: Any) -> Any:
    """As x.reshape: a view if there is one, else an empty tensor. None: torch is to say it."""
    shape = shape if isinstance(shape[0], int) else shape[0]
    if type(x) is not Outline or 0 in x.shape or not isinstance(shape, (tuple, list)):
        return None
    if -1 in shape:
        known = -math.prod(shape)
        shape = tuple([x.shape.numel() // known if n == -1 else n for n in shape])
    if math.prod(shape) != x.shape.numel():
        return None
    steps = find_steps(x, shape)
    return make_empty(shape, x.dtype) if steps is None else Outline(shape, x.dtype, steps, x.storage)


def _expand(x: Any, *shape: Any) -> Any:
    """As x.expand, a view."""
    if type(x) is not Outline:
        return None
    shape = shape if isinstance(shape[0], int) else tuple(shape[0])
    more = len(shape) - x.ndim
    sizes, steps = [*shape[:more], *x.shape], [*[0] * more, *x.stride()]
    made = [
        (n, step) if wanted in (n, -1) else (wanted, 0) for wanted, n, step in zip(shape, sizes, steps, strict=True)
    ]
    return Outline([n for n, _ in made], x.dtype, tuple([step for _, step in made]), x.storage)


def _repeat(x: Any, *times: Any) -> Any:
    """An empty tensor of the shape of x.repeat's."""
    times = times if isinstance(times[0], int) else tuple(times[0])
    shape = (*(1,) * (len(times) - x.ndim), *x.shape)
    return make_empty([n * more for n, more in zip(shape, times, strict=True)], x.dtype)


def _multiply_matrices(a: Tensor, b: Tensor) -> Any:
    """An empty tensor of the shape of a @ b. None: of a vector."""
    if min(a.ndim, b.ndim) < 2:
        return None
    return make_empty((*find_common((a.shape[:-2], b.shape[:-2])), a.shape[-2], b.shape[-1]), a.dtype)


def _average(x: Any, kernel: Any, **how: Any) -> Any:
    """An empty tensor of the shape of F.avg_pool2d's, of squares side by side. None: of others."""
    if how or not isinstance(kernel, int):
        return None
    return _lay_out_like(x, (*x.shape[:-2], *(n // kernel for n in x.shape[-2:])))


def _make_contiguous(x: Any, memory_format: Any = torch.contiguous_format) -> Any:
    """As x.contiguous."""
    if x.is_contiguous(memory_format=memory_format):
        return x
    if memory_format is torch.contiguous_format:
        return make_empty(x.shape, x.dtype)
    return _empty_last(x.shape, x.dtype) if memory_format is torch.channels_last else None


def _flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Any:
    if not x.ndim:
        return None
    first, last = start_dim % x.ndim, end_dim % x.ndim
    return _reshape(x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


def _unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Any:
    at = dim % x.ndim
    known = -math.prod(sizes) if -1 in sizes else 1
    sizes = [x.shape[at] // known if n == -1 else n for n in sizes]
    return _reshape(x, (*x.shape[:at], *sizes, *x.shape[at + 1 :]))


MAKERS = {
    "cat": _join,
    "stack": _stack,
    "linear": _multiply,
    "conv2d": _convolve,
    "conv3d": _convolve,
    "conv_transpose2d": _convolve_transposed,
    "pad": _pad,
    "empty": _make,
    "new_empty": _make_like,
    "new_zeros": _make_like,
    "to": _cast,
    "contiguous": _make_contiguous,
    "interpolate": _interpolate,
    "expand": _expand,
    "repeat": _repeat,
    "__matmul__": _multiply_matrices,
    "matmul": _multiply_matrices,
    "avg_pool2d": _average,
    "reshape": _reshape,
    "view": _reshape,
    "flatten": _flatten,
    "unflatten": _unflatten,
}
