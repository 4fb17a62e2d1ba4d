"""Interpolation between two latents: along a straight line (lerp), or along the great circle of each pair (slerp).

Draws of noise have nearly the same length. Half way along the line between two of them the length is 3 dB less; along
the circle it stays. Shoemake 1985, "Animating rotation with quaternion curves".
"""

import math

import torch
from torch import Tensor

from ..devices.cards import to_float64
from ..errors import BadRequest
from .numbers import demand_latent

METHODS = SLERP, LERP = ("slerp", "lerp")
PARALLEL = 1e-4  # sine of the angle below which the circle is ill-defined and the line is used instead


def lerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """(1 - t) a + t b. a, b: one shape (B, ...) and floating dtype, any range; the result is the same."""
    return a * (1 - t) + b * t


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Interpolate from a (t = 0) to b (t = 1), each item of the batch along its own circle.

    a, b: one shape (B, ...), any range and floating dtype. Returns the same shape, in the wider of their dtypes.
    Lengths that differ change linearly. Items that are parallel, opposite or zero are interpolated along the line.
    """
    kind, device = torch.promote_types(a.dtype, b.dtype), a.device
    a, b = to_float64(a), to_float64(b)
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    lengths = flat_a.norm(dim=1) * flat_b.norm(dim=1)
    cosine = (flat_a * flat_b).sum(1) / lengths.clamp(min=1e-300)
    angle = cosine.clamp(-1, 1).acos()
    sine = angle.sin()
    along_line = (sine < PARALLEL) | (lengths == 0)
    safe = torch.where(along_line, 1.0, sine)
    share_a = torch.where(along_line, 1 - t, ((1 - t) * angle).sin() / safe)
    share_b = torch.where(along_line, t, (t * angle).sin() / safe)
    shape = (-1, *(1,) * (a.ndim - 1))
    return (share_a.reshape(shape) * a + share_b.reshape(shape) * b).to(device, kind)


def interpolate(a: Tensor, b: Tensor, t: float, method: str = SLERP) -> Tensor:
    """Interpolate from a (t = 0) to b (t = 1) by 'slerp' or 'lerp'.

    a, b: (B, ...), any range and floating dtype, the same but for B; one of them may have a single item, which then
    meets every item of the other. Returns (B, ...).
    Raises BadRequest for shapes that do not fit together, for an unknown method, and for a t that is no number;
    LatentMismatch for what is no tensor of plain numbers.
    """
    demand_latent(a)
    demand_latent(b)
    if not math.isfinite(t):
        raise BadRequest(f"there is no latent at {t} of the way from one to another: give a number from 0 to 1.")
    if method not in METHODS:
        raise BadRequest(f"there is no interpolation '{method}': choose {' or '.join(METHODS)}.")
    batches = {len(a), len(b)} - {1}
    if a.shape[1:] != b.shape[1:] or len(batches) > 1:
        raise BadRequest(
            f"latents of the shapes {(*a.shape,)} and {(*b.shape,)} cannot be interpolated: they need the same "
            "channels and size, and the same number of items, or one."
        )
    n = max(len(a), len(b))
    a, b = a.expand(n, *a.shape[1:]), b.expand(n, *b.shape[1:])
    return (slerp if method == SLERP else lerp)(a, b, t)


def walk(a: Tensor, b: Tensor, steps: int, method: str = SLERP) -> Tensor:
    """`steps` points from a to b, both included: all steps of the first pair of items, then of the next.

    a, b: as for `interpolate`. Returns (B * steps, ...). Raises what `interpolate` raises.
    """
    points = [interpolate(a, b, i / (steps - 1) if steps > 1 else 0.0, method) for i in range(steps)]
    return torch.stack(points, 1).flatten(0, 1)
