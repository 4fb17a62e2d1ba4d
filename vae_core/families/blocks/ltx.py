"""Blocks of LTX-Video's autoencoders: residual blocks, which may be told a time, and changes of resolution."""

import math
from copy import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...devices.dtypes import at_least_fp32
from ...ops import (
    CHANNELS_LAST,
    ChannelsToFrames,
    Conv3d,
    FramesToChannels,
    MeanChannels,
    Op,
    Ops,
    PixelShuffle,
    PixelUnshuffle,
    Residual,
    TileChannels,
    chain,
    silu,
)
from .ltx_rows import Change
from .norms import send

ROWS = 512  # of a linear layer that are copied at a time: 8 MiB of the largest
FREQUENCIES, LONGEST = 128, 10000.0  # of the embedding of a time (diffusers' get_timestep_embedding)


class Kit(NamedTuple):
    """How convolutions of a half look beyond an image and a clip.

    around  do they see the frame after their own? Beyond both ends of a clip is its outermost frame
    border  of an image, see Window
    """

    around: bool
    border: str = "constant"


class Conv(nn.Module):
    """A convolution over frames. (T, c_in, H, W) -> (T, c_out, H, W)"""

    def __init__(self, c_in: int, c_out: int, kit: Kit, stride: int = 1):
        super().__init__()
        self.conv = Conv3d(c_in, c_out, stride=stride, repeats=True, around=kit.around, border=kit.border)

    def ops(self) -> Ops:
        return self.conv.ops()


class PixelNorm(Op):
    """Each pixel by the root mean square of its channels, then times a factor, plus shift. (B, C, H, W) -> same

    shift, factor: (C,), or None. If there are more channels than factors, these are the first ones'. Pointwise.
    """

    normalizes = True

    def __init__(self, shift: Tensor | None = None, factor: Tensor | None = None, eps: float = 1e-8):
        self.shift, self.factor, self.eps = shift, factor, eps

    def __call__(self, x: Tensor) -> Tensor:
        own = x.permute(CHANNELS_LAST)
        own = own if self.factor is None else own[..., : len(self.factor)]
        length = torch.linalg.vector_norm(own, dim=-1, keepdim=True, dtype=at_least_fp32(x.dtype))
        factor = torch.rsqrt(length * length / own.shape[-1] + self.eps)
        y = None if torch.is_grad_enabled() else torch.empty_like(own)  # one new image, whatever the factor's dtype
        y = torch.mul(own, factor, out=y)
        out = None if torch.is_grad_enabled() else y
        shift, weight = (None if t is None else t.to(x.dtype) for t in (self.shift, self.factor))
        if weight is not None:
            y = torch.mul(y, weight, out=out) if shift is None else torch.addcmul(shift, y, weight, out=out)
        return y.to(x.dtype).permute(0, 3, 1, 2)

    def absorb_scale(self, scale: float) -> "PixelNorm":
        """The same for images that are `scale` times as large as they should be."""
        norm = copy(self)
        norm.eps = self.eps * scale**2
        return norm


class ChannelNorm(Op, nn.LayerNorm):
    """A layer norm over the channels of each pixel. Pointwise. (B, C, H, W) -> same"""

    normalizes = True

    def __init__(self, c: int):
        nn.LayerNorm.__init__(self, c, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def absorb_scale(self, scale: float) -> "ChannelNorm":
        """The same for images that are `scale` times as large as they should be, with the same weights."""
        norm = copy(self)
        norm.eps = self.eps * scale**2
        return norm


class TimeEmbedder(nn.Module):
    """What a time means to the blocks that are told it: numbers that they shift and scale their channels by."""

    def __init__(self, numbers: int):
        super().__init__()
        layers = {"linear_1": nn.Linear(2 * FREQUENCIES, numbers), "linear_2": nn.Linear(numbers, numbers)}
        self.timestep_embedder = nn.ModuleDict(layers)

    def embed(self, time: Tensor) -> Tensor:
        """time (), in fp32 at least -> (numbers,) in its dtype"""
        exponent = torch.arange(FREQUENCIES, dtype=time.dtype, device="cpu") / FREQUENCIES
        angles = time * send(torch.exp(-math.log(LONGEST) * exponent), time)
        first, second = self.timestep_embedder.values()
        return apply_layer(second, F.silu(apply_layer(first, torch.cat([angles.cos(), angles.sin()]))))


def apply_layer(layer: nn.Module, x: Tensor) -> Tensor:
    """A linear layer in the dtype of x, (n,) -> (m,).

    Of a few rows at a time, copied: where weights lie in a mapped file they may begin anywhere, and a product rounds
    otherwise then.
    """
    weight, bias = layer.parameters()
    rows = [F.linear(x, part.to(x.dtype, copy=True)) for part in weight.split(ROWS)]
    return torch.cat(rows) + bias.to(x.dtype)


class ResBlock(nn.Module):
    """(T, c_in, H, W) -> (T, c_out, H, W)

    timed  is it told a time?
    noisy  did training add noise to what its convolutions make? Its strengths are kept; no noise is added here
    """

    def __init__(self, c_in: int, c_out: int, kit: Kit, timed: bool = False, noisy: bool = False):
        super().__init__()
        self.conv1, self.conv2 = Conv(c_in, c_out, kit), Conv(c_out, c_out, kit)
        self.norm3 = nn.ModuleDict({"norm": ChannelNorm(c_in)}) if c_in != c_out else None
        self.conv_shortcut = Conv3d(c_in, c_out, 1) if c_in != c_out else None
        self.per_channel_scale1 = nn.Parameter(torch.zeros(c_in, 1, 1)) if noisy else None
        self.per_channel_scale2 = nn.Parameter(torch.zeros(c_in, 1, 1)) if noisy else None
        self.scale_shift_table = nn.Parameter(torch.zeros(4, c_in)) if timed else None

    def ops(self, time: Tensor | None = None) -> Ops:
        """time: (4 * c_in,), what the time means to it; None unless it is told one"""
        norms = PixelNorm(), PixelNorm()
        if time is not None and self.scale_shift_table is not None:
            shift_1, scale_1, shift_2, scale_2 = time.view(4, -1) + self.scale_shift_table
            norms = PixelNorm(shift_1, 1 + scale_1), PixelNorm(shift_2, 1 + scale_2)
        body = chain(norms[0], silu, self.conv1, norms[1], silu, self.conv2)
        return (Residual(body, chain(self.norm3["norm"], self.conv_shortcut) if self.norm3 else ()),)


class Stage(nn.Module):
    """Residual blocks of one width."""

    def __init__(self, width: int, blocks: int, kit: Kit, timed: bool = False, noisy: bool = False):
        super().__init__()
        self.time_embedder = TimeEmbedder(4 * width) if timed else None
        self.res_blocks = nn.ModuleList(ResBlock(width, width, kit, timed, noisy) for _ in range(blocks))

    def ops(self, time: Tensor | None = None) -> Ops:
        """time: (), scaled as the embedder reads it; None unless it is told one"""
        told = self.time_embedder.embed(time) if time is not None and self.time_embedder else None
        return tuple(op for block in self.res_blocks if isinstance(block, ResBlock) for op in block.ops(told))


class Shrink(nn.Module):
    """Less resolution, by trading pixels and frames for channels; beside it the means of channels traded so.

    Before the first frame it is seen again. (T, c_in, H, W) -> (T', width, H', W')
    """

    def __init__(self, c_in: int, change: Change, kit: Kit):
        super().__init__()
        self.conv, self.change = Conv(c_in, change.width // change.traded, kit), change
        self.group = c_in * change.traded // change.width

    def ops(self) -> Ops:
        return (Residual(chain(self.conv, *self._trade()), chain(*self._trade(), MeanChannels(self.group))),)

    def _trade(self) -> Ops:
        """New ones at each call: an op that sees earlier frames has a past of its own."""
        in_time = FramesToChannels(2, repeats=True) if self.change.in_time else None
        return chain(in_time, PixelUnshuffle() if self.change.in_space else None)


class Grow(nn.Module):
    """More resolution, by trading channels for pixels and frames, less what would be before the first frame.

    bridged: are what it reads, as often as it takes, and what its convolution makes of it added?
    """

    def __init__(self, c_in: int, change: Change, kit: Kit, bridged: bool):
        super().__init__()
        self.conv, self.change = Conv(c_in, change.width * change.traded, kit), change
        self.times = change.width * change.traded // c_in if bridged else 0

    def ops(self) -> Ops:
        made = self.conv.ops()
        trade = chain(
            PixelShuffle() if self.change.in_space else None,
            ChannelsToFrames(2) if self.change.in_time else None,
        )
        return (*((Residual(made, (TileChannels(self.times),)),) if self.times else made), *trade)
