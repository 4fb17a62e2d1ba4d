"""Vision transformers as ops: what an image was cut into, as tokens, and layers among which all tokens see each other.

Dosovitskiy et al. 2020 (https://arxiv.org/abs/2010.11929). Reference: huggingface/transformers modeling_vit_mae.py,
modeling_siglip.py and modeling_dinov2_with_registers.py (Apache-2.0).

Tokens lie in a single row, (B, C, 1, tokens): those that stand for no pixels first, then those of the image, row after
row. An image lies in channels last, so layers see the channels as the last dimension.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...devices.cards import has_float64
from ...devices.dtypes import at_least_fp32
from ...ops import CHANNELS_LAST, Global, Op, Ops, Residual, Window, attend, chain, linear

FIRST = (0, 3, 1, 2)  # the way back from CHANNELS_LAST


class Resize(Window):
    """A square of n x n pixels to one of m x m, bicubic, in fp32 at least. (B, C, n, n) -> (B, C, m, m)"""

    def __init__(self, n: int, m: int):
        self.span = self.step = n
        self.rows_per_step, self.growth = m, (m / n) ** 2

    def __call__(self, x: Tensor) -> Tensor:
        size = (self.rows_per_step,) * 2
        y = F.interpolate(x.to(at_least_fp32(x.dtype)), size, mode="bicubic", align_corners=False)
        return y.to(x.dtype, memory_format=torch.channels_last)

    def apply_unpadded(self, x: Tensor) -> Tensor:
        return self(x)


class ToTokens(Window):
    """The whole grid as a row of tokens, each told where it was. (B, C, g, g) -> (B, C, 1, k + g^2)

    extra      (k, C), tokens that stand for no pixels
    positions  (g^2, C)
    """

    def __init__(self, extra: Tensor, positions: Tensor, grid: int):
        self.extra, self.positions = extra, positions
        self.span = self.step = grid
        self.growth = 1 + len(extra) / grid**2
        self.temporary_bytes = extra.nbytes + positions.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        own = x.permute(CHANNELS_LAST).flatten(1, 2) + self.positions
        tokens = torch.cat([self.extra.expand(len(x), -1, -1), own], 1)
        return tokens[:, None].permute(FIRST)

    def apply_unpadded(self, x: Tensor) -> Tensor:
        return self(x)


class FromTokens(Op):
    """The grid again, without the first `extra` tokens. (B, C, 1, k + g^2) -> (B, C, g, g)"""

    def __init__(self, extra: int, grid: int):
        self.extra, self.rows_per_step = extra, grid
        self.growth = grid**2 / (extra + grid**2)

    def __call__(self, x: Tensor) -> Tensor:
        own = x.permute(CHANNELS_LAST)[:, 0, self.extra :]
        return own.unflatten(1, (self.rows_per_step, -1)).permute(FIRST)


class Linear(Op, nn.Linear):
    """Of the channels of each pixel. Pointwise. (B, c_in, H, W) -> (B, c_out, H, W)"""

    def __init__(self, c_in: int, c_out: int):
        nn.Linear.__init__(self, c_in, c_out)
        self.growth = c_out / c_in

    def forward(self, input: Tensor) -> Tensor:
        return linear(input.permute(CHANNELS_LAST), self.weight, self.bias).permute(FIRST)


class Norm(Op, nn.LayerNorm):
    """The channels of each pixel to mean 0 and variance 1. Pointwise. (B, C, H, W) -> same

    affine: times a weight, plus a bias?
    """

    def __init__(self, c: int, eps: float, affine: bool = True):
        nn.LayerNorm.__init__(self, c, eps=eps, elementwise_affine=affine)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(CHANNELS_LAST)).permute(FIRST)


class LayerScale(Op, nn.Module):
    """Each channel times a number. Pointwise. (B, C, H, W) -> same"""

    def __init__(self, c: int):
        nn.Module.__init__(self)
        self.lambda1 = nn.Parameter(torch.ones(c))

    def forward(self, x: Tensor) -> Tensor:
        return (x.permute(CHANNELS_LAST) * self.lambda1).permute(FIRST)


class Attention(Global):
    """Every token sees all, with `heads` heads. (B, C, H, W) -> same"""

    def __init__(self, c: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(c, c) for _ in range(4))

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._project(self.k_proj, x), self._project(self.v_proj, x)

    def recall(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        keys, values = memory
        y = attend(self._project(self.q_proj, x), keys, values).transpose(1, 2).flatten(2)
        return linear(y, self.o_proj.weight, self.o_proj.bias).unflatten(1, x.shape[2:]).permute(FIRST)

    def _project(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, heads, H W, C / heads)"""
        y = linear(x.permute(CHANNELS_LAST).flatten(1, 2), layer.weight, layer.bias)
        return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MLP(nn.Module):
    def __init__(self, c: int, hidden: int, activation: Callable[[Tensor], Tensor]):
        super().__init__()
        self.fc1, self.fc2 = Linear(c, hidden), Linear(hidden, c)
        self.activation = activation

    def ops(self) -> Ops:
        return self.fc1, self.activation, self.fc2


class Layer(nn.Module):
    """All tokens see each other, then each changes alone. (B, C, 1, tokens) -> same. scaled: is what is added?"""

    def __init__(self, c: int, heads: int, hidden: int, eps: float,
                 activation: Callable[[Tensor], Tensor] = F.gelu, scaled: bool = False):  # fmt: skip
        super().__init__()
        self.norm1, self.norm2 = Norm(c, eps), Norm(c, eps)
        self.attention, self.mlp = Attention(c, heads), MLP(c, hidden, activation)
        self.layer_scale1, self.layer_scale2 = (LayerScale(c) if scaled else None for _ in range(2))

    def ops(self) -> Ops:
        return (
            Residual(chain(self.norm1, self.attention, self.layer_scale1)),
            Residual(chain(self.norm2, self.mlp, self.layer_scale2)),
        )


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU as SigLIP has it, by its approximation with tanh. (B, C, H, W) -> same"""
    return F.gelu(x, approximate="tanh")


def fit_positions(table: Tensor, grid: int, antialias: bool) -> Tensor:
    """Learned positions of a square of patches to those of another, bicubic: (n^2, C) -> (grid^2, C), in fp32 at least.

    antialias: as DINOv2 has it, whose authors compute this in fp32 whatever the rest is computed in.
    """
    n = round(len(table) ** 0.5)
    if n == grid:
        return table
    exact = torch.float32 if antialias else at_least_fp32(table.dtype)
    square = table.to(exact).unflatten(0, (n, n)).permute(2, 0, 1)[None]
    made = F.interpolate(square, (grid, grid), mode="bicubic", align_corners=False, antialias=antialias)
    return made[0].permute(1, 2, 0).flatten(0, 1)


def make_positions(c: int, grid: int, base: int, device: torch.device) -> Tensor:
    """Sines and cosines of where a patch is, in a square of `base` units: (grid^2, c), fp32.

    The first half of the channels tells the column, the second the row. As diffusers' get_2d_sincos_pos_embed.
    """
    exact = device if has_float64(device) else torch.device("cpu")
    places = (torch.arange(grid, dtype=torch.float32, device=exact) / (grid / base)).double()
    angles = torch.outer(places, 1 / 10000 ** (torch.arange(c // 4, dtype=torch.float64, device=exact) / (c / 4)))
    waves = torch.cat([angles.sin(), angles.cos()], 1)  # (grid, c / 2)
    columns, rows = waves.repeat(grid, 1), waves.repeat_interleave(grid, 0)
    return torch.cat([columns, rows], 1).float().to(device)
