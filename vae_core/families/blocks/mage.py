"""Blocks of Mage-VAE, of the time t = 0 at which it is always run: what depends on the time is a constant then.

Reference: microsoft/Mage mage_flow/models/modules/mage_vae.py (MIT), whose names the parameters bear. DiCo's blocks are
those of Ai et al. 2025 (https://arxiv.org/abs/2505.11196).

Images lie in channels last here, so linear layers and norms see the channels as the last dimension.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...devices.dtypes import at_least_fp32
from ...devices.numerics import pad
from ...ops import Blocks, Conv2d, Op, Ops, Residual, Sums, attend, chain, silu
from .ldm import ResnetBlock, norm, tokens

EPS = 1e-6
WIDENING = 4
WINDOW = 32  # pixels of the latent, in both directions, among which there is attention
TIME = 256  # numbers that tell the time: cosines, then sines


class TimeEmbedder(nn.Module):
    """The time t = 0, as the modulations read it: (hidden,), in fp32 at least."""

    def __init__(self, hidden: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self) -> Tensor:
        first, _, second = list[Any](self.mlp)
        ones = torch.ones(TIME // 2, device=first.weight.device, dtype=at_least_fp32(first.weight.dtype))
        zero = torch.cat([ones, torch.zeros_like(ones)])  # cos 0 and sin 0
        return apply_linear(second, F.silu(apply_linear(first, zero)))


def apply_linear(layer: Any, x: Tensor) -> Tensor:
    """A linear layer's result for one list of channels, (c_in,) -> (c_out,), in the dtype of x."""
    return multiply(layer.weight, x) + layer.bias.to(x.dtype)


def multiply(weight: Tensor, x: Tensor) -> Tensor:
    """(c_out, c_in) times (..., c_in) -> (..., c_out), in the dtype of x.

    Of a copy. What a library makes of a matrix and a single vector depends on where the matrix lies: weights that are
    mapped from a file gave other last digits than those that were not.
    """
    return F.linear(x, weight.to(x.dtype, copy=True))


def make_conv(weight: Tensor, bias: Tensor, groups: int = 1) -> Conv2d:
    """A 1x1 convolution of weights that were made for one run.

    weight: (c_out, c_in of a group, 1, 1), bias: (c_out,)
    """
    with torch.device("meta"):
        conv: Any = Conv2d(weight.shape[1] * groups, len(weight), 1, groups=groups)
    conv._parameters = {"weight": weight, "bias": bias.to(weight.dtype)}
    conv.temporary_bytes = weight.nbytes
    return conv


@dataclass(frozen=True, eq=False)
class ChannelNorm(Op):
    """The first channels of each pixel to mean 0 and variance 1, times weight, plus bias. Pointwise.

    (B, C or more, H, W) -> (B, C, H, W); weight, bias: (C,)
    """

    weight: Tensor
    bias: Tensor
    eps: float = EPS
    normalizes = True

    def __call__(self, x: Tensor) -> Tensor:
        first = x.permute(0, 2, 3, 1)[..., : len(self.weight)]
        return F.layer_norm(first, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)

    def absorb_scale(self, scale: float) -> "ChannelNorm":
        return ChannelNorm(self.weight, self.bias, self.eps * scale**2)


class Norm(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def ops(self) -> Ops:
        return (ChannelNorm(self.weight, self.bias),)


@dataclass(frozen=True, eq=False)
class Gate(Op):
    """Each channel times a constant, and `beside` channels of zeros after them. Pointwise.

    (B, C, H, W) -> (B, C + beside, H, W); gate: (C,)
    """

    gate: Tensor
    beside: int
    keeps_scale = True

    @property
    def growth(self) -> float:  # type: ignore[override]
        return 1 + self.beside / len(self.gate)

    def __call__(self, x: Tensor) -> Tensor:
        return F.pad(x.permute(0, 2, 3, 1) * self.gate, (0, self.beside)).permute(0, 3, 1, 2)


class ChannelAttention(Sums):
    """Every channel times a gate, which the means of all channels decide. (B, C, H, W) -> same

    The means are taken in fp32 at least.
    """

    def __init__(self, c: int):
        super().__init__()
        self.add_module("1", Conv2d(c, c, 1))

    @property
    def passing_bytes(self) -> int:  # type: ignore[override]
        return self.get_submodule("1").weight.nbytes  # type: ignore[union-attr, return-value]

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = x.sum((2, 3), dtype=at_least_fp32(x.dtype))[:, None, None]
        return total, torch.full_like(total[..., :1], x.shape[-1] * x.shape[-2])

    def recall(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        total, pixels = memory
        conv: Any = self.get_submodule("1")
        decided = multiply(conv.weight[..., 0, 0], (total / pixels).flatten(1).to(x.dtype)) + conv.bias
        return x * torch.sigmoid(decided)[..., None, None]

    def work(self, made: Tensor) -> float:
        return made.numel()


class DiCoBlock(nn.Module):
    """Each pixel's neighbourhood and the means of the image, then each pixel alone. (B, C, H, W) -> same

    modulated: are its norms scaled and shifted, and what it adds gated, by the time?
    """

    def __init__(self, c: int, modulated: bool):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = Conv2d(c, c, 1), Conv2d(c, c, groups=c), Conv2d(c, c, 1)
        self.ca = ChannelAttention(c)
        self.conv4, self.conv5 = Conv2d(c, WIDENING * c, 1), Conv2d(WIDENING * c, c, 1)
        if modulated:
            self.adaLN_modulation = nn.ModuleDict({"1": nn.Linear(c, 6 * c)})
        else:
            self.norm1, self.norm2 = Norm(c), Norm(c)

    def ops(self) -> Ops:
        return self._between(self.norm1, None, self.norm2, None)

    def modulated_by(self, time: Tensor, beside: int = 0) -> Ops:
        """time: (C,). beside: channels after the block's own, which pass it as they are."""
        layer: Any = self.adaLN_modulation["1"]
        made = apply_linear(layer, F.silu(time)).to(layer.weight.dtype)
        shift, scale, gate, shift_after, scale_after, gate_after = made.chunk(6)
        return self._between(
            ChannelNorm(1 + scale, shift), Gate(gate, beside), ChannelNorm(1 + scale_after, shift_after),
            Gate(gate_after, beside)
        )  # fmt: skip

    def _between(self, norm1: Norm | Op, gate: Op | None, norm2: Norm | Op, gate_after: Op | None) -> Ops:
        near = chain(norm1, self.conv1, self.conv2, F.gelu, self.ca, self.conv3, gate)
        return Residual(near), Residual(chain(norm2, self.conv4, F.gelu, self.conv5, gate_after))


class WindowAttention(Blocks, nn.Module):
    """Attention among 32 x 32 pixels. (B, C, H, W) -> same

    Windows that reach beyond the image see its outermost pixels there again.
    """

    block = WINDOW
    last_conv = "proj_out"

    def __init__(self, c: int):
        nn.Module.__init__(self)
        self.norm = norm(c)
        self.q, self.k, self.v, self.proj_out = (Conv2d(c, c, 1) for _ in range(4))

    def ops(self) -> Ops:
        return (Residual((self.norm, self)),)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        q, k, v = (tokens(_windows(conv(x))) for conv in (self.q, self.k, self.v))
        y = attend(q, k, v)[:, 0]
        return self.proj_out(_from_windows(y, x)[:, :, :h, :w])


def _windows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B * windows, C, 32, 32)"""
    c, h, w = x.shape[1:]
    padded = pad(x.permute(0, 2, 3, 1)[:, None], (0, 0, 0, -w % WINDOW, 0, -h % WINDOW), "replicate")[:, 0]
    cut = padded.unflatten(2, (-1, WINDOW)).unflatten(1, (-1, WINDOW))  # B, rows, 32, columns, 32, C
    windows = cut.transpose(2, 3).reshape(-1, WINDOW, WINDOW, c).contiguous()  # padding may give channels another place
    return windows.permute(0, 3, 1, 2)


def _from_windows(y: Tensor, x: Tensor) -> Tensor:
    """(B * windows, 32 * 32, C) -> (B, C, H, W) as x is, but up to whole windows."""
    b, c, h, w = x.shape
    rows, columns = -(-h // WINDOW), -(-w // WINDOW)
    cut = y.reshape(b, rows, columns, WINDOW, WINDOW, c).transpose(2, 3)
    return cut.reshape(b, rows * WINDOW, columns * WINDOW, c).permute(0, 3, 1, 2)


class Conditioner(nn.Module):
    """z (B, z_channels, h, w) -> what the decoder is told of it, (B, C, h, w)"""

    def __init__(self, z_channels: int, c: int):
        super().__init__()
        self.conv_in = Conv2d(z_channels, c)
        blocks = (ResnetBlock(c, c), WindowAttention(c), ResnetBlock(c, c), WindowAttention(c), ResnetBlock(c, c))
        self.block = nn.ModuleList(blocks)
        self.norm_out, self.conv_out = norm(c), Conv2d(c, c)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.block, self.norm_out, silu, self.conv_out)


class PixelBlock(Op, nn.Module):
    """Features of each pixel, modulated by those before them, which stay. Pointwise. (B, 2C, H, W) -> same"""

    def __init__(self, c: int):
        nn.Module.__init__(self)
        self.in_ln = nn.LayerNorm(c, eps=EPS)
        self.mlp = nn.Sequential(nn.Linear(c, c), nn.SiLU(), nn.Linear(c, c))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(c, 3 * c))

    def forward(self, x: Tensor) -> Tensor:
        before, features = x.permute(0, 2, 3, 1).chunk(2, -1)
        shift, scale, gate = self.adaLN_modulation(before).chunk(3, -1)
        made = features + gate * self.mlp(self.in_ln(features) * (1 + scale) + shift)
        return torch.cat([before, made], -1).permute(0, 3, 1, 2)


class Colours(Op, nn.Module):
    """Features of each pixel, by their root mean square, to colours. Pointwise. (B, 2C, H, W) -> (B, c_out, H, W)

    As in the blocks before, its features are the second half of the channels.
    """

    def __init__(self, c: int, c_out: int):
        nn.Module.__init__(self)
        self.norm = nn.RMSNorm(c, eps=EPS)
        self.linear = nn.Linear(c, c_out)
        self.growth = c_out / (2 * c)

    def forward(self, x: Tensor) -> Tensor:
        features = x.permute(0, 2, 3, 1).chunk(2, -1)[1]
        return self.linear(self.norm(features)).permute(0, 3, 1, 2)
