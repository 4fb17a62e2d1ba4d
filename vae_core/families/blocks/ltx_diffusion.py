"""Blocks of LTX-2.5's diffusion decoder: transformer layers whose attention sees the pixels and frames nearest by.

Reference: huggingface/diffusers ltx2_diffusion_decoder.py (Apache-2.0); the parameters bear Lightricks' names, but for
those of linear layers that would be taken for convolutions.

A clip lies in channels last, so layers see the channels as the last dimension.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...devices.dtypes import at_least_fp32
from ...ops import (
    CHANNELS_LAST,
    ChannelsToFrames,
    FromTop,
    Near,
    Op,
    Ops,
    PixelShuffle,
    Residual,
    attend_nearby,
    chain,
    count_gathered,
    join,
    linear,
)
from .ltx import PixelNorm, apply_layer
from .ltx_rows import Change
from .norms import send
from .vit import FIRST, Linear

HEAD = 64  # channels of an attention head
TURNED = (16, 24, 24)  # of them that are turned by the frame, the row and the column
THETA = 10000.0
EPS = 1e-6
WIDENING = 4
# Numbers at a time, where more are made of a pixel meanwhile than what is kept: four times as many between two layers,
# and twelve while queries and keys are turned in fp32.
AT_ONCE, TURNED_AT_ONCE = 2**22, 2**20

Kernel = tuple[int, int, int]  # frames, rows and columns that a pixel sees


class Norm(nn.Module):
    """Each pixel by the root mean square of its channels, times a weight."""

    def __init__(self, c: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))

    def ops(self) -> Ops:
        return (PixelNorm(factor=self.weight, eps=EPS),)

    def modulated(self, scale: Tensor, shift: Tensor) -> PixelNorm:
        """Then times 1 + scale, plus shift, each (C,). More channels that lie after its own are left out."""
        factor = self.weight.to(scale.dtype) * (1 + scale)
        return PixelNorm(shift, factor, EPS)


class Attention(Near, nn.Module):
    """Each pixel sees those in a window around it; where they are turns queries and keys. (T, C, H, W) -> same

    fused: are queries, keys and values of one layer?
    """

    def __init__(self, c: int, kernel: Kernel, fused: bool):
        nn.Module.__init__(self)
        self.kernel, self.reach, self.fused = kernel, kernel[1], fused
        if fused:
            self.qkv = nn.Linear(c, 3 * c)
        else:
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(c, c) for _ in range(3))
        self.o_proj = nn.Linear(c, c)
        self.q_norm, self.k_norm = Norm(HEAD), Norm(HEAD)

    def compute_rows(self, x: Tensor, first: int, count: int) -> Tensor:
        x = x.permute(CHANNELS_LAST)
        own = x[:, first : first + count]
        q = place(self._project(0, own), self.q_norm.weight, first)
        k = place(self._project(1, x), self.k_norm.weight)
        y = attend_nearby(q, k, self._project(2, x), self.kernel, first)
        del q, k
        return linear(y.flatten(-2), self.o_proj.weight, self.o_proj.bias).permute(FIRST)

    def forward(self, x: Tensor) -> Tensor:
        return self.compute_rows(x, 0, x.shape[-2])

    def work(self, made: Tensor) -> float:
        t, c, _, w = made.shape
        frames, rows, columns = self.kernel
        seen = min(frames, t) * rows * min(columns, w)  # all its rows, though a band has fewer: bands make up the whole
        return made.numel() * (4 * c + 2 * seen)

    def count_meanwhile(self, x: Tensor) -> int:
        return max(count_gathered(x.permute(CHANNELS_LAST).shape, self.kernel), 12 * min(TURNED_AT_ONCE, x.numel()))

    def _project(self, part: int, x: Tensor) -> Tensor:
        """(T, n, W, C) -> (T, n, W, heads, HEAD). part: 0 queries, 1 keys, 2 values"""
        if self.fused:
            weight, bias = (t.chunk(3)[part] for t in (self.qkv.weight, self.qkv.bias))
        else:
            layer = (self.q_proj, self.k_proj, self.v_proj)[part]
            weight, bias = layer.weight, layer.bias
        return linear(x, weight, bias).unflatten(-1, (-1, HEAD))


def place(x: Tensor, weight: Tensor, row: int = 0) -> Tensor:
    """Queries or keys, normalised, and turned by where they are. It may be written over x.

    x: (T, n, W, heads, HEAD), from this row on. Where rows are counted from is all one, as long as it is the same for
    both: what a query makes of a key depends on how far apart they are.
    """
    angles = [_list_angles(*axis) for axis in zip((0, row, 0), x.shape[:3], TURNED, strict=True)]
    if torch.is_grad_enabled():
        return _turn(x, weight, angles)
    for some in _cut(x):
        own = [axis[part] for axis, part in zip(angles, some, strict=False)]
        x[some].copy_(_turn(x[some], weight, [*own, angles[2]]))
    return x


def _cut(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Frames and rows of x, (T, n, W, heads, HEAD), some at a time. On the meta device the first: all take the same."""
    rows = max(1, TURNED_AT_ONCE // x[0, 0].numel())
    frames = max(1, rows // x.shape[1])
    starts = product(range(0, len(x), frames), range(0, x.shape[1], rows))
    for frame, row in islice(starts, 1 if x.is_meta else None):
        yield slice(frame, frame + frames), slice(row, row + rows)


def _list_angles(first: int, count: int, turned: int) -> Tensor:
    """By which pairs are turned at so many places along an axis: (count, turned / 2), fp64 on the CPU.

    Of frequencies in fp32, as the authors have them.
    """
    how: Any = {"dtype": torch.float64, "device": "cpu"}
    steps = (1.0 / THETA ** (torch.arange(0, turned, 2, **how) / turned)).float()
    return torch.outer(torch.arange(first, first + count, **how), steps.double())


def _turn(x: Tensor, weight: Tensor, angles: Sequence[Tensor]) -> Tensor:
    """Each two channels of a head, (T, n, W, heads, HEAD), as a point in the plane; in fp32 at least."""
    exact = at_least_fp32(x.dtype)
    wide = x.to(exact)
    wide = wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + EPS) * weight
    cos, sin = (_spread([send(f(axis).to(exact), x) for axis in angles]) for f in (torch.cos, torch.sin))
    one, other = wide[..., 0::2], wide[..., 1::2]
    return torch.stack([one * cos - other * sin, one * sin + other * cos], -1).flatten(-2).to(x.dtype)


def _spread(axes: Sequence[Tensor]) -> Tensor:
    """What frames, rows and columns say, (T, a), (n, b), (W, c), to every pixel: (T, n, W, 1, a + b + c)"""
    t, h, w = axes
    size = len(t), len(h), len(w)
    each = (t[:, None, None], h[None, :, None], w[None, None])
    return torch.cat([one.expand(*size, -1) for one in each], -1)[..., None, :]


class FeedForward(Op, nn.Module):
    """Each pixel alone, some at a time: between two layers it has four times as many channels, twice."""

    def __init__(self, c: int):
        nn.Module.__init__(self)
        hidden = -(-WIDENING * c // 16) * 16
        self.w_up, self.w_gate = (nn.Linear(c, hidden, bias=False) for _ in range(2))
        self.w_down = nn.Linear(hidden, c, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.permute(CHANNELS_LAST).flatten(0, 2)
        if torch.is_grad_enabled():
            made = self._compute(flat)
        else:
            made, pixels = torch.empty_like(flat), max(1, AT_ONCE // self.w_up.out_features)
            starts = range(0, len(flat), pixels)
            for at in starts[:1] if x.is_meta else starts:
                some = slice(at, at + pixels)
                made[some].copy_(self._compute(flat[some]))
        t, _, h, w = x.shape
        return made.view(t, h, w, -1).permute(FIRST)

    def count_meanwhile(self, x: Tensor) -> int:
        t, _, h, w = x.shape
        return 4 * min(AT_ONCE, t * h * w * self.w_up.out_features)

    def _compute(self, x: Tensor) -> Tensor:
        """(pixels, C) -> same"""
        gate, up = linear(x, self.w_gate.weight), linear(x, self.w_up.weight)
        return linear(F.silu(gate) * up, self.w_down.weight)


class Layer(nn.Module):
    """(T, C, H, W) -> same"""

    def __init__(self, c: int, kernel: Kernel, fused: bool):
        super().__init__()
        self.norm1, self.norm2 = Norm(c), Norm(c)
        self.attn, self.mlp = Attention(c, kernel, fused), FeedForward(c)

    def ops(self) -> Ops:
        return Residual(chain(self.norm1, self.attn)), Residual(chain(self.norm2, self.mlp))


class Grow(nn.Module):
    """More resolution, by trading channels for pixels and frames, less what would be before the first frame."""

    def __init__(self, c: int, change: Change):
        super().__init__()
        self.expand, self.change = Linear(c, change.width * change.traded), change

    def ops(self) -> Ops:
        in_space = PixelShuffle() if self.change.in_space else None
        return chain(self.expand, in_space, ChannelsToFrames(2) if self.change.in_time else None)


class Modulations(nn.Module):
    """What the time means to all layers that are told it: scale and shift before each of two, and three unused gates.

    Gates are in the layers' weights, by whoever made the file.
    """

    parts = 7

    def __init__(self, c: int, time: int):
        super().__init__()
        self.layer = nn.Linear(time, self.parts * c)

    def tell(self, time: Tensor) -> Tensor:
        """time: (numbers,), in fp32 at least -> (parts, C)"""
        return apply_layer(self.layer, F.silu(time)).unflatten(0, (self.parts, -1))


class ToldLayer(nn.Module):
    """A layer that is told the time, and again what the latent says of each pixel, which stays.

    (T, 2 C, H, W) -> same
    """

    def __init__(self, c: int, kernel: Kernel, fused: bool):
        super().__init__()
        self.context_proj = nn.Linear(c, c)
        self.scale_shift_table = nn.Parameter(torch.zeros(Modulations.parts, c))
        self.norm1, self.norm2 = Norm(c), Norm(c)
        self.attn, self.mlp = Attention(c, kernel, fused), FeedForward(c)

    def modulated_by(self, told: Tensor) -> Ops:
        """told: (parts, C), in fp32 at least"""
        scale, shift, _, scale_after, shift_after, _, _ = told + self.scale_shift_table
        return (
            Tell(self.context_proj),
            Residual((self.norm1.modulated(scale, shift), self.attn, Widen())),
            Residual((self.norm2.modulated(scale_after, shift_after), self.mlp, Widen())),
        )


class Tell(Op):
    """To the first half of the channels is added what a layer makes of the second. Pointwise. (B, 2 C, H, W) -> same"""

    in_place = True

    def __init__(self, layer: nn.Linear):
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        return self._add(x, x.clone(memory_format=torch.channels_last))

    def apply_in_place(self, x: Tensor) -> Tensor:
        return self._add(x, x)

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        c = x.shape[1] // 2
        told = linear(x.permute(CHANNELS_LAST)[..., c:], self.layer.weight, self.layer.bias)
        y.permute(CHANNELS_LAST)[..., :c].add_(told)
        return y


class Widen(Op):
    """As many channels of zeros after those that there are. Pointwise. (B, C, H, W) -> (B, 2 C, H, W)"""

    keeps_scale = True
    growth = 2.0

    def __call__(self, x: Tensor) -> Tensor:
        return F.pad(x.permute(CHANNELS_LAST), (0, x.shape[1])).permute(FIRST)


class Begin(FromTop):
    """Noise, as what the layers begin with, and after it what they are told. (T, C, H, W) -> (T, 2 C, H, W)

    The noise is the same for all clips of a size: drawn on a CPU in fp32, row after row of all frames.
    """

    growth = 2.0

    def __init__(self, layer: nn.Linear, seed: int):
        self.layer, self.seed = layer, seed

    def begin(self) -> Callable[[Tensor], Tensor]:
        return partial(self._draw, torch.Generator("cpu").manual_seed(self.seed))

    def _draw(self, generator: torch.Generator, x: Tensor) -> Tensor:
        t, _, h, w = x.shape
        shape = t, h, w, self.layer.in_features
        if x.is_meta:
            noise = x.new_empty(shape, dtype=torch.float32)
        else:
            noise = torch.empty(shape, dtype=torch.float32, device="cpu")
            for row in noise.unbind(1):
                row.copy_(torch.randn(row.shape, generator=generator, dtype=torch.float32, device="cpu"))
        made = linear(send(noise, x).to(x.dtype), self.layer.weight, self.layer.bias)
        return torch.cat([made, x.permute(CHANNELS_LAST)], -1).permute(FIRST)


class RepeatLast(Op):
    """The last frame so many times more. (T, C, H, W) -> (T + frames, C, H, W)"""

    keeps_scale = True

    def __init__(self, frames: int):
        self.frames = frames

    def __call__(self, x: Tensor) -> Tensor:
        return join([x, x[-1:].expand(self.frames, *x.shape[1:])])


class DropLast(Op):
    """(T + frames, C, H, W) -> (T, C, H, W)"""

    keeps_scale = True

    def __init__(self, frames: int):
        self.frames = frames

    def __call__(self, x: Tensor) -> Tensor:
        return x[: -self.frames]
