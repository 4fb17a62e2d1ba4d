"""Blocks of MiniMax-H3's decoder: a vision transformer over the pixels and frames of a piece of the latent.

Reference: huggingface/diffusers autoencoder_kl_minimax_h3.py (Apache-2.0); the parameters bear the authors' names, but
for those of linear layers that would be taken for convolutions.

Tokens lie in a single row, (B, C, 1, tokens): those of the piece, frame after frame and row after row, then some that
were learned and one of zeros. An image lies in channels last, so layers see the channels as the last dimension.
"""

import math
from collections.abc import Sequence
from copy import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...devices.dtypes import at_least_fp32
from ...ops import (
    CHANNELS_LAST,
    AnyOp,
    Global,
    Nest,
    Op,
    Ops,
    Residual,
    Run,
    Temporal,
    attend,
    chain,
    keeps_scale,
    linear,
    map_ops,
    name_original,
)
from .norms import send
from .vit import FIRST, Linear

HEAD = 64  # channels of an attention head
TURNED = 48  # of them are turned by where a token is, the same number for each of three coordinates
THETA = 100.0
EPS = 1e-5

Rotation = tuple[Tensor, Tensor]


class Norm(Op, nn.Module):
    """The channels of each pixel by their root mean square. Pointwise. (B, C, H, W) -> same"""

    def __init__(self, c: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))

    def forward(self, x: Tensor) -> Tensor:
        y = normalize(x.permute(CHANNELS_LAST)) * self.weight
        return y.to(x.dtype).permute(FIRST)


def normalize(x: Tensor) -> Tensor:
    """(..., C) by the root mean square of the last dimension, in fp32 at least"""
    wide = x.to(at_least_fp32(x.dtype))
    return wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + EPS)


class Scale(Op):
    """Each channel times a number. Pointwise. (B, C, H, W) -> same"""

    keeps_scale = True

    def __init__(self, numbers: Tensor):
        self.numbers = numbers

    def __call__(self, x: Tensor) -> Tensor:
        return (x.permute(CHANNELS_LAST) * self.numbers).permute(FIRST)


class Attention(Global):
    """Every token sees all; where they are turns queries and keys. (B, C, 1, tokens) -> same

    fused: are queries, keys and values of one layer, head after head?
    """

    rotation: Rotation | None = None  # of the piece that is run, see `Tokens`

    def __init__(self, c: int, fused: bool):
        super().__init__()
        self.heads = c // HEAD
        if fused:
            self.qkv_proj = nn.Linear(c, 3 * c)
        else:
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(c, c) for _ in range(3))
        self.fused, self.o_proj = fused, nn.Linear(c, c)

    @property
    def passing_bytes(self) -> int:  # type: ignore[override]
        """One of three layers that lie in one is copied out of it."""
        return self.qkv_proj.weight.nbytes // 3 if self.fused else 0

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._place(self._project(1, x)), self._project(2, x)

    def recall(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        y = attend(self._place(self._project(0, x)), *memory).transpose(1, 2).flatten(2)
        return linear(y, self.o_proj.weight, self.o_proj.bias)[:, None].permute(FIRST)

    def turned(self, rotation: Rotation) -> "Attention":
        """The same for tokens that are so placed."""
        twin = name_original(self, copy(self))
        twin.rotation = rotation
        return twin

    def _project(self, part: int, x: Tensor) -> Tensor:
        """(B, C, 1, tokens) -> (B, heads, tokens, HEAD). part: 0 queries, 1 keys, 2 values"""
        weight, bias = self._layer(part)
        return linear(x.permute(CHANNELS_LAST)[:, 0], weight, bias).unflatten(-1, (self.heads, HEAD)).transpose(1, 2)

    def _layer(self, part: int) -> tuple[Tensor, Tensor]:
        if self.fused:
            return take_part(self.qkv_proj.weight, part), take_part(self.qkv_proj.bias, part)
        layer = (self.q_proj, self.k_proj, self.v_proj)[part]
        return layer.weight, layer.bias

    def _place(self, x: Tensor) -> Tensor:
        """Queries or keys, normalised and turned: the first half of the turned channels by the second."""
        y = normalize(x)
        if self.rotation is None:
            return y.to(x.dtype)
        cos, sin = self.rotation
        turned, rest = y[..., :TURNED], y[..., TURNED:]
        one, other = turned.chunk(2, -1)
        turned = turned * cos + torch.cat([-other, one], -1) * sin
        return torch.cat([turned, rest], -1).to(x.dtype)


def take_part(t: Tensor, part: int) -> Tensor:
    """Of a layer that makes all three: those of queries (0), keys (1) or values (2). (heads 3 HEAD, ...) -> (C, ...)"""
    return t.unflatten(0, (-1, 3, HEAD))[:, part].flatten(0, 1)


class Gated(Op, nn.Linear):
    """One half of a linear layer times SiLU of the other. Pointwise. (B, C, H, W) -> (B, hidden, H, W)

    gate_first: is the first half the gate?
    """

    def __init__(self, c: int, hidden: int, gate_first: bool):
        nn.Linear.__init__(self, c, 2 * hidden)
        self.growth, self.gate_first = hidden / c, gate_first

    def forward(self, input: Tensor) -> Tensor:
        x = input.permute(CHANNELS_LAST)
        one, other = (linear(x, *half) for half in zip(self.weight.chunk(2), self.bias.chunk(2), strict=True))
        return (F.silu(one) * other if self.gate_first else one * F.silu(other)).permute(FIRST)


class FeedForward(nn.Module):
    def __init__(self, c: int, hidden: int, gate_first: bool):
        super().__init__()
        self.w1, self.w2 = Gated(c, hidden, gate_first), Linear(hidden, c)

    def ops(self) -> Ops:
        return self.w1, self.w2


class Layer(nn.Module):
    """All tokens see each other, then each changes alone. (B, C, 1, tokens) -> same"""

    def __init__(self, c: int, hidden: int, fused: bool):
        super().__init__()
        self.norm1, self.norm2 = Norm(c), Norm(c)
        self.attn, self.ff = Attention(c, fused), FeedForward(c, hidden, fused)
        self.scale1, self.scale2 = (nn.Parameter(torch.ones(c)) for _ in range(2))

    def ops(self) -> Ops:
        return (
            Residual(chain(self.norm1, self.attn, Scale(self.scale1))),
            Residual(chain(self.norm2, self.ff, Scale(self.scale2))),
        )


class Tokens(Nest):
    """A piece of a clip as tokens, which ops change. (T, C, h, w) -> (T, C', h, w)

    register  (k, C), tokens that were learned; after them comes one of zeros. None of these is part of the result
    Of single frames each is a piece of its own.
    """

    over_frames = True

    def __init__(self, body: Ops, register: Tensor):
        self.body, self.register = body, register
        self.turned = dict[tuple[int, ...], Ops]()  # the body for pieces of so many frames, rows and columns

    def with_body(self, body: Ops) -> Nest:
        twin = copy(self)
        twin.body, twin.turned = body, {}
        return twin

    def compute(self, x: Tensor, run: Run) -> Tensor:
        t, _, h, w = x.shape
        pieces = 1 if self.over_frames else t
        y = run(self._turn(t // pieces, h, w, x), [self._enter(x, pieces)])
        y = y.permute(CHANNELS_LAST)[:, 0, : t // pieces * h * w]
        return y.reshape(t, h, w, -1).permute(FIRST)

    def as_single_frame(self) -> Ops:
        twin = self.with_body(self.body)
        twin.over_frames = False
        return (twin,)

    def _turn(self, frames: int, rows: int, columns: int, x: Tensor) -> Ops:
        """The body for a piece of this grid, whose attention knows where tokens are; made once for each."""
        grid = frames, rows, columns
        if grid not in self.turned:
            rotation = rotate(grid, len(self.register) + 1, x)
            self.turned[grid] = map_ops(self.body, partial(_turn_attention, rotation))
        return self.turned[grid]

    def _enter(self, x: Tensor, pieces: int) -> Tensor:
        """(T, C, h, w) -> (pieces, C, 1, tokens)"""
        own = x.permute(CHANNELS_LAST).reshape(pieces, -1, x.shape[1])
        learned = self.register.expand(pieces, -1, -1)
        return torch.cat([own, learned, torch.zeros_like(own[:, :1])], 1)[:, None].permute(FIRST)


def _turn_attention(rotation: Rotation, ops: Ops) -> Ops:
    return tuple[AnyOp, ...](op.turned(rotation) if isinstance(op, Attention) else op for op in ops)


def rotate(grid: Sequence[int], more: int, x: Tensor) -> Rotation:
    """Cosines and sines of the angles by which queries and keys are turned, (tokens, TURNED), in fp32 at least.

    grid  frames, rows and columns of a piece, in each of which tokens are spread from -1 to 1
    more  tokens that are nowhere: in the middle
    Angles are of coordinates in fp32, as the authors compute them, whatever else is computed in.
    """
    exact, how = at_least_fp32(x.dtype), {"dtype": torch.float32, "device": "cpu"}
    sides = [2.0 * (torch.arange(0.5, n, **how) / n) - 1.0 for n in grid]
    places = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).flatten(0, 2)
    places = torch.cat([places, torch.zeros(more, len(grid), **how)])
    steps = 1.0 / THETA ** torch.arange(0, 1, 2 * len(grid) / TURNED, **how)
    angles = (2.0 * math.pi * places)[..., None].to(exact) * steps.to(exact)
    angles = angles.flatten(1).tile(2)
    return send(angles.cos(), x), send(angles.sin(), x)


class Spread(Temporal):
    """Channels become frames: (channel, frame) in turn. (T, n C, H, W) -> (T', C, H, W)

    counts: frames that the frames which are read stand for, in turn, n at most: the last ones. An image: the last one.
    """

    keeps_scale = True

    def __init__(self, n: int, counts: Sequence[int]):
        super().__init__()
        self.n, self.counts = n, tuple(counts)

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        t, c, h, w = x.shape
        made = x.permute(CHANNELS_LAST).unflatten(-1, (c // self.n, self.n)).permute(0, 4, 1, 2, 3)
        kept = [self.counts[i % len(self.counts)] for i in range(t)]
        y = torch.empty((sum(kept), h, w, c // self.n), dtype=x.dtype, device=x.device)
        at = 0
        for frames, count in zip(made, kept, strict=True):
            y[at : at + count].copy_(frames[self.n - count :])
            at += count
        return y.permute(FIRST), x[:0].clone()

    def as_single_frame(self) -> Ops:
        return (keeps_scale(self._last),)

    def _last(self, x: Tensor) -> Tensor:
        return x[:, self.n - 1 :: self.n].contiguous(memory_format=torch.channels_last)
