"""Between two latents: along the straight line, or along the great circle of each pair.

Noise has nearly one length whatever its draw; half way along the line between two draws it has lost 3 dB, half way
along the circle it has not. Shoemake 1985, "Animating rotation with quaternion curves".
"""

import torch
from torch import Tensor

from ..errors import BadRequest

METHODS = SLERP, LERP = ("slerp", "lerp")
PARALLEL = 1e-4  # sine of the angle below which the circle is no longer defined, and the line is as good


def lerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """(1 - t) a + t b. a, b: of one shape."""
    return a * (1 - t) + b * t


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """t of the way from a to b, (B, ...), each item along its own circle; lengths that differ change linearly.

    Items that point the same way, or opposite ways, or are zero, are mixed along the line.
    """
    flat_a, flat_b = a.double().flatten(1), b.double().flatten(1)
    lengths = flat_a.norm(dim=1) * flat_b.norm(dim=1)
    cosine = (flat_a * flat_b).sum(1) / lengths.clamp(min=1e-300)
    angle = cosine.clamp(-1, 1).acos()
    sine = angle.sin()
    along_line = (sine < PARALLEL) | (lengths == 0)
    safe = torch.where(along_line, 1.0, sine)
    share_a = torch.where(along_line, 1 - t, ((1 - t) * angle).sin() / safe)
    share_b = torch.where(along_line, t, (t * angle).sin() / safe)
    shape = (-1, *(1,) * (a.ndim - 1))
    return (share_a.reshape(shape) * a + share_b.reshape(shape) * b).to(torch.promote_types(a.dtype, b.dtype))


def interpolate(a: Tensor, b: Tensor, t: float, method: str = SLERP) -> Tensor:
    """t of the way from a to b. One of them may be a single item for all of the other's.

    Raises BadRequest for shapes that do not go together, or a method there is none of.
    """
    if method not in METHODS:
        raise BadRequest(f"there is no way '{method}' between two latents: choose {' or '.join(METHODS)}.")
    batches = {len(a), len(b)} - {1}
    if a.shape[1:] != b.shape[1:] or len(batches) > 1:
        raise BadRequest(
            f"latents of the shapes {(*a.shape,)} and {(*b.shape,)} cannot be mixed: they need the same channels and "
            "size, and as many items, or one."
        )
    n = max(len(a), len(b))
    a, b = a.expand(n, *a.shape[1:]), b.expand(n, *b.shape[1:])
    return (slerp if method == SLERP else lerp)(a, b, t)


def walk(a: Tensor, b: Tensor, steps: int, method: str = SLERP) -> Tensor:
    """`steps` points from a to b, both included, as a batch: all steps of the first pair, then of the next."""
    points = [interpolate(a, b, i / (steps - 1) if steps > 1 else 0.0, method) for i in range(steps)]
    return torch.stack(points, 1).flatten(0, 1)
