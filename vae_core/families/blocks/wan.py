"""Blocks of Wan's autoencoders: RMS norms of single pixels, attention within a frame."""

import math
from copy import copy

import torch
from torch import Tensor, nn

from ...devices.dtypes import at_least_fp32
from ...ops import Conv2d, Conv3d, Global, Op, Ops, Residual, attend, chain, conv2d, silu
from .ldm import from_tokens, tokens


class RMSNorm(Op, nn.Module):
    """Each pixel by the root mean square of its channels. Pointwise. (B, C, H, W) -> same

    `over`: the dimensions that gamma has besides the channels, as files have them.
    """

    normalizes = True
    least = 1e-12  # of the length of a pixel's vector

    def __init__(self, c: int, over: int = 3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(c, *(1,) * over))

    def forward(self, x: Tensor) -> Tensor:
        exact = at_least_fp32(x.dtype)
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=exact)
        scale = math.sqrt(x.shape[1]) / length.clamp_min(self.least)
        y = None if torch.is_grad_enabled() else torch.empty_like(x)  # one new image, whatever the scale's dtype
        return torch.mul(x, scale, out=y).mul_(self.gamma.view(-1, 1, 1)).to(x.dtype)

    def absorb_scale(self, scale: float) -> "RMSNorm":
        """The same for images that are `scale` times as large as they should be, with the same weights."""
        norm = copy(self)
        norm.least = self.least * scale
        return norm


class ResidualBlock(nn.Module):
    """(T, c_in, H, W) -> (T, c_out, H, W)"""

    def __init__(self, c_in: int, c_out: int, frames: int):
        super().__init__()
        kernel = (frames, 3, 3)
        self.residual = nn.ModuleDict({
            "0": RMSNorm(c_in), "2": Conv3d(c_in, c_out, kernel),
            "3": RMSNorm(c_out), "6": Conv3d(c_out, c_out, kernel),
        })  # fmt: skip
        self.shortcut = Conv3d(c_in, c_out, 1) if c_in != c_out else None

    def ops(self) -> Ops:
        norm1, conv1, norm2, conv2 = self.residual.values()
        return (Residual(chain(norm1, silu, conv1, norm2, silu, conv2), chain(self.shortcut)),)


class AttentionBlock(Global):
    """Single-head self-attention over all pixels of a frame. (T, C, H, W) -> same"""

    last_conv = "proj"

    def __init__(self, c: int):
        super().__init__()
        self.norm = RMSNorm(c, 2)
        self.to_qkv, self.proj = Conv2d(c, 3 * c, 1), Conv2d(c, c, 1)

    def remember(self, x: Tensor) -> tuple[Tensor, ...]:
        c = x.shape[1]
        return tuple(tokens(self._part(x, slice(i * c, i * c + c))) for i in (1, 2))

    def recall(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        q = tokens(self._part(x, slice(0, x.shape[1])))
        k, v = memory
        y = attend(q, k, v)
        return self.proj(from_tokens(y, x))

    def _part(self, x: Tensor, channels: slice) -> Tensor:
        bias = self.to_qkv.bias
        return conv2d(x, self.to_qkv.weight[channels], None if bias is None else bias[channels])

    def ops(self) -> Ops:
        return (Residual((self.norm, self)),)
