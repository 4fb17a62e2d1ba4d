"""Norms of single pixels, with SiLU after them, and written where the convolution over frames reads them."""

from typing import Any

import torch
from torch import Tensor

from ... import kernels
from ...families.blocks.wan import RMSNorm
from ...ops import AnyOp, LookBack, Op, Ops, Temporal, map_ops, name_original, silu


class PixelNorm(Op):
    """An `RMSNorm`, and SiLU after it if wanted. Pointwise. (B, C, H, W) -> same

    Of the norm's own weights, so it is made for a run, and is no part of a network. It records no gradients.
    """

    def __init__(self, norm: RMSNorm, silu: bool):
        self.norm, self.silu = norm, silu
        name_original(norm, self)

    def __call__(self, x: Tensor) -> Tensor:
        return self.write(x, torch.empty_like(x))

    def write(self, x: Tensor, y: Tensor) -> Tensor:
        """The result, written to y. Both are (B, C, H, W), of one dtype."""
        return kernels.normalize_pixels(x, self.norm.gamma.flatten(), self.norm.least, self.silu, y)


class PixelNormBack(Temporal):
    """A `PixelNorm`, and the last frames of what it made before in front. (T, C, H, W) -> (T + frames, C, H, W)

    As a `LookBack` after it, but what it makes is written beside them at once, and not copied there.
    """

    def __init__(self, norm: PixelNorm, back: LookBack):
        super().__init__()
        self.norm, self.back = norm, back
        name_original(norm, self)

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        before, (t, c, h, w) = self.back.frames, x.shape
        before = before if past is None else len(past)
        seen = torch.empty((before + t, h, w, c), dtype=x.dtype, device=x.device).permute(0, 3, 1, 2)
        self.norm.write(x, seen[before:])
        if past is not None:
            seen[:before] = past
        elif self.back.repeats:
            seen[:before] = seen[before : before + 1]
        else:
            seen[:before] = 0
        return seen, seen[len(seen) - self.back.later :].clone()

    def as_single_frame(self) -> Ops:
        return (self.norm,)


def join_pixel_norms(ops: Ops) -> Ops:
    """Ops that compute the same, with norms of pixels joined to what comes after them."""
    return map_ops(ops, _join)


def _join(ops: Ops) -> Ops:
    result: list[AnyOp] = []
    for op in ops:
        last: Any = result[-1] if result else None
        if op is silu and isinstance(last, PixelNorm) and not last.silu:
            result[-1] = PixelNorm(last.norm, True)
        elif isinstance(op, LookBack) and isinstance(last, PixelNorm):
            result[-1] = PixelNormBack(last, op)
        else:
            result.append(PixelNorm(op, False) if isinstance(op, RMSNorm) else op)
    return tuple(result)
