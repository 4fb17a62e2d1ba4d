"""A U-Net of residual blocks that is run at fixed times: what depends on the time is a constant then.

Dhariwal & Nichol 2021 (https://arxiv.org/abs/2105.05233). Reference: the blocks that huggingface/diffusers
scripts/convert_consistency_decoder.py writes down, whose names the parameters bear.

A U-Net keeps what it made on its way down and reads it beside what it makes on its way up. That is a `Residual` whose
two paths have their channels side by side, with zeros in the place of the other's: the sum is both of them.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...devices.dtypes import at_least_fp32
from ...ops import CHANNELS_LAST, Conv2d, Op, Ops, Residual, Upsample2x, Window, chain, name_original, silu
from .base import Table
from .ldm import GROUPS
from .mage import apply_linear

FIRST = (0, 3, 1, 2)  # the way back from CHANNELS_LAST
EPS = 1e-5


class Pool(Window):
    """The means of 2 x 2 pixels. (B, C, 2H, 2W) -> (B, C, H, W)"""

    keeps_scale = True
    span = step = 2
    growth = 0.25

    def __call__(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2)

    def apply_unpadded(self, x: Tensor) -> Tensor:
        return self(x)


class PadChannels(Op):
    """Channels of zeros before and after. Pointwise. (B, C, H, W) -> (B, before + C + after, H, W)"""

    keeps_scale = True

    def __init__(self, c: int, before: int, after: int):
        self.sides, self.growth = (before, after), (before + c + after) / c

    def __call__(self, x: Tensor) -> Tensor:
        return F.pad(x.permute(CHANNELS_LAST), self.sides).permute(FIRST)


@dataclass(frozen=True)
class UNetConfig:
    widths: tuple[int, ...]  # channels of each level, from the highest resolution
    blocks: int  # of a level on the way down; one more on the way up
    time: int  # numbers that tell a block the time
    times: int  # that there are


class TimeEmbedding(nn.Module):
    """What the blocks read of each time: (time,), in fp32 at least."""

    def __init__(self, c: UNetConfig):
        super().__init__()
        self.emb = Table(c.times, c.widths[0])
        self.f_1, self.f_2 = nn.Linear(c.widths[0], c.time), nn.Linear(c.time, c.time)

    def at(self, time: int) -> Tensor:
        known = self.emb.weight[time].to(at_least_fp32(self.emb.weight.dtype))
        return F.silu(apply_linear(self.f_2, F.silu(apply_linear(self.f_1, known))))


class TimedNorm(Op, nn.GroupNorm):
    """A group norm whose result is scaled by 1 + scale, then shifted: a norm with other numbers. (B, C, H, W) -> same

    Made for a run, and no part of a network. scale, shift: (C,)
    """

    def __init__(self, norm: nn.GroupNorm, scale: Tensor, shift: Tensor):
        nn.GroupNorm.__init__(self, norm.num_groups, norm.num_channels, norm.eps, device="meta")
        made = {"weight": norm.weight * (1 + scale), "bias": norm.bias * (1 + scale) + shift}
        numbers: Any = {name: t.to(norm.weight.dtype) for name, t in made.items()}
        self._parameters = numbers
        name_original(norm, self)


class TimedBlock(nn.Module):
    """Two convolutions, the second after a norm that the time scales and shifts. (B, c_in, H, W) -> (B, c_out, H', W')

    change: what is done to both paths before the first one, a change of resolution
    """

    def __init__(self, c_in: int, c_out: int, time: int, change: Op | None = None):
        super().__init__()
        self.f_t = nn.Linear(time, 2 * c_out)
        self.gn_1, self.f_1 = nn.GroupNorm(GROUPS, c_in, EPS), Conv2d(c_in, c_out)
        self.gn_2, self.f_2 = nn.GroupNorm(GROUPS, c_out, EPS), Conv2d(c_out, c_out)
        self.f_s = Conv2d(c_in, c_out, 1) if c_in != c_out else None
        self.change, self.c_in, self.c_out = change, c_in, c_out

    def at(self, time: Tensor) -> Ops:
        """time: (time,), as `TimeEmbedding.at` gives it."""
        body = chain(self.gn_1, silu, self.change, self.f_1, self._norm_at(time), silu, self.f_2)
        return (Residual(body, chain(self.change, self.f_s)),)

    def _norm_at(self, time: Tensor) -> "TimedNorm":
        return TimedNorm(self.gn_2, *apply_linear(self.f_t, time).chunk(2))


class Side(nn.Module):
    """The blocks of one level on the way down or up, and the block that changes the resolution after them."""

    def __init__(self, c_ins: list[int], c: int, time: int, change: Op | None):
        super().__init__()
        self.block = nn.ModuleList(TimedBlock(c_in, c, time) for c_in in c_ins)
        self.change = TimedBlock(c, c, time, change) if change else None


class ConvHolder(nn.Module):
    """A convolution by the name that files have for it."""

    def __init__(self, c_in: int, c_out: int, normed: bool = False):
        super().__init__()
        self.gn = nn.GroupNorm(GROUPS, c_in, EPS) if normed else None
        self.f = Conv2d(c_in, c_out)

    def ops(self) -> Ops:
        return chain(self.gn, silu if self.gn else None, self.f)


class UNet(nn.Module):
    """(B, c_in, H, W) -> (B, c_out, H, W) at a time; the sides are multiples of 2^(levels - 1)."""

    def __init__(self, c: UNetConfig, c_in: int, c_out: int):
        super().__init__()
        widths, last = c.widths, len(c.widths) - 1
        self.embed_image, self.embed_time = ConvHolder(c_in, widths[0]), TimeEmbedding(c)
        self.down = nn.ModuleList(
            Side([widths[max(0, i - 1)], *[w] * (c.blocks - 1)], w, c.time, Pool() if i < last else None)
            for i, w in enumerate(widths)
        )
        self.mid = nn.ModuleList(TimedBlock(widths[-1], widths[-1], c.time) for _ in range(2))
        self.up = nn.ModuleList(self._make_up(c, i) for i in range(last + 1))
        self.output = ConvHolder(widths[0], c_out, normed=True)

    @staticmethod
    def _make_up(c: UNetConfig, i: int) -> Side:
        """Each of its blocks reads beside what was made before it what was made on the way down."""
        width, before, after = c.widths[i], c.widths[min(i + 1, len(c.widths) - 1)], c.widths[max(0, i - 1)]
        own, kept = [before, *[width] * c.blocks], [*[width] * c.blocks, after]
        c_ins = [a + b for a, b in zip(own, kept, strict=True)]
        return Side(c_ins, width, c.time, Upsample2x() if i else None)

    def at(self, time: int) -> Ops:
        """Its ops at one of the times, from the bottom outwards: what lies below a kept image is a path around it."""
        known = self.embed_time.at(time)
        mid, ways_down, ways_up = (list[Any](blocks) for blocks in (self.mid, self.down, self.up))
        down = [block for side in ways_down for block in (*side.block, side.change) if block]
        up = [block for side in reversed(ways_up) for block in (*side.block, side.change) if block]
        below = [op for block in mid for op in block.at(known)]
        made = down[-1].c_out
        while down or up:
            kept = down[-1].c_out if down else self.embed_image.f.out_channels
            around = (*below, PadChannels(made, 0, kept))
            block = up.pop(0)
            below = [Residual(around, (PadChannels(kept, made, 0),)), *block.at(known)]
            if up and up[0].change:
                below += up.pop(0).at(known)
            made = block.c_out
            below = [*down.pop().at(known), *below] if down else below
        return (*self.embed_image.ops(), *below, *self.output.ops())
