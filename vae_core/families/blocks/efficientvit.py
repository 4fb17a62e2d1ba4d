"""Blocks of EfficientViT (Cai et al. 2023, https://arxiv.org/abs/2205.14756), as DC-AE uses them.

Reference: mit-han-lab/efficientvit efficientvit/models/nn/ops.py and norm.py (Apache-2.0); the names of the parameters
are those of diffusers. The one surprise: what is called q, k and v are thirds of one row of channels, which is cut
into heads only then: of a head of 32, head h takes channels 96 h ... 96 h + 95, in turn as query, key and value.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...devices.dtypes import at_least_fp32
from ...ops import Conv2d, Op, Ops, Residual, Sums, Window, chain, conv2d, relu, silu
from .norms import BatchNorm, RMSNorm

HEAD = 32  # channels of a head, in all published files
WIDENING = 4  # of the gated convolutions


class ResBlock(nn.Module):
    """(B, C, H, W) -> same"""

    def __init__(self, c: int, batch_norm: bool):
        super().__init__()
        self.conv1, self.conv2 = Conv2d(c, c), Conv2d(c, c, bias=False)
        self.norm = BatchNorm(c) if batch_norm else RMSNorm(c)
        self.act = relu if batch_norm else silu

    def ops(self) -> Ops:
        return (Residual((self.conv1, self.act, self.conv2, self.norm)),)


class Stacked(Op, nn.ModuleList):
    """1x1 convolutions without bias, run as one: their results follow one another in the channels. Pointwise."""

    def __init__(self, convs: list[Conv2d]):
        nn.ModuleList.__init__(self, convs)
        self.growth = float(len(convs))

    @property
    def passing_bytes(self) -> int:  # type: ignore[override]
        return sum(conv.weight.nbytes for conv in self)  # type: ignore[misc]

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, torch.cat([conv.weight for conv in self]))  # type: ignore[misc]


class Scale(Window, nn.Module):
    """Each channel's neighbourhood, then a mixture within the head. (B, C, H, W) -> same"""

    def __init__(self, c: int, kernel_size: int, head: int):
        nn.Module.__init__(self)
        self.proj_in = Conv2d(c, c, kernel_size, groups=c, bias=False)
        self.proj_out = Conv2d(c, c, 1, groups=c // head, bias=False)
        self.rows, self.span = self.proj_in.rows, kernel_size

    def forward(self, x: Tensor) -> Tensor:
        return self.proj_out(self.proj_in(x))

    def apply_unpadded(self, x: Tensor) -> Tensor:
        return self.proj_out(self.proj_in.apply_unpadded(x))


class MultiScale(Window, nn.ModuleList):
    """Pixels, and beside them what their neighbourhoods say. (B, C, H, W) -> (B, (1 + scales) * C, H, W)"""

    def __init__(self, c: int, kernel_sizes: tuple[int, ...], head: int):
        self.span = max(kernel_sizes)
        self.rows, self.growth = (self.span // 2, self.span // 2), 1.0 + len(kernel_sizes)
        nn.ModuleList.__init__(self, [Scale(c, k, head) for k in kernel_sizes])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, *(scale(x) for scale in self)], 1)

    def apply_unpadded(self, x: Tensor) -> Tensor:
        scales: list[Scale] = list(self)  # type: ignore[arg-type]
        near = (scale.apply_unpadded(_cropped(x, self.rows[0] - scale.rows[0])) for scale in scales)
        return torch.cat([_cropped(x, self.rows[0]), *near], 1)


def _cropped(x: Tensor, rows: int) -> Tensor:
    return x.narrow(-2, rows, x.shape[-2] - 2 * rows)


class LinearAttention(Sums):
    """Attention whose weights are relu(q) . relu(k), each query's divided by their sum. (B, 3C, H, W) -> (B, C, H, W)

    That is relu(q) times sums over all pixels, of v relu(k)^T and of relu(k), which is all there is to remember.
    They exceed half precision, and are taken in fp32 at least. The authors weigh pixel by pixel in images of no more
    than 32 pixels, to save work; the result is the same.
    """

    eps = 1e-15

    def __init__(self, head: int):
        super().__init__()
        self.head = head

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        k, v = (_heads(x, self.head, i) for i in (1, 2))
        k = F.relu(k)
        return v @ k.transpose(-1, -2), k.sum(-1)[:, :, None]

    def recall(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        values, weights = memory
        q = F.relu(_heads(x, self.head, 0))
        y = values @ q / (weights @ q + self.eps)
        return y.flatten(1, 2).unflatten(-1, x.shape[-2:]).to(x.dtype, memory_format=torch.channels_last)

    def work(self, made: Tensor) -> float:
        return made.numel() * 2 * self.head


def _heads(x: Tensor, head: int, third: int) -> Tensor:
    """(B, heads * 3 * head, H, W) -> the queries, keys or values (B, heads, head, H * W), in fp32 at least

    Of several images torch's products would copy what lies in channels last, which no plan has counted.
    """
    part, exact = x.unflatten(1, (-1, 3, head))[:, :, third].flatten(-2), at_least_fp32(x.dtype)
    return part.to(exact) if len(x) == 1 else part.to(exact, memory_format=torch.contiguous_format).contiguous()


class Attention(nn.Module):
    """(B, C, H, W) -> same"""

    def __init__(self, c: int, scales: tuple[int, ...], head: int, joined: bool):
        super().__init__()
        if joined:
            self.qkv = Conv2d(c, 3 * c, 1, bias=False)
        else:
            self.to_q, self.to_k, self.to_v = (Conv2d(c, c, 1, bias=False) for _ in range(3))
        self.to_qkv_multiscale = MultiScale(3 * c, scales, head) if scales else None
        self.attention = LinearAttention(head)
        self.to_out, self.norm_out = Conv2d((1 + len(scales)) * c, c, 1, bias=False), RMSNorm(c)
        self.joined = joined

    def ops(self) -> Ops:
        qkv = self.qkv if self.joined else Stacked([self.to_q, self.to_k, self.to_v])
        return (Residual(chain(qkv, self.to_qkv_multiscale, self.attention, self.to_out, self.norm_out)),)


class GatedConv(nn.Module):
    """Widened, seen with its neighbours, half of it gated by the other half, narrowed. (B, C, H, W) -> same"""

    def __init__(self, c: int):
        super().__init__()
        wide = 2 * WIDENING * c
        self.conv_inverted = Conv2d(c, wide, 1)
        self.conv_depth = Conv2d(wide, wide, groups=wide)
        self.conv_point, self.norm = Conv2d(WIDENING * c, c, 1, bias=False), RMSNorm(c)

    def ops(self) -> Ops:
        return (Residual((self.conv_inverted, silu, self.conv_depth, Gated(), self.conv_point, self.norm)),)


class Gated(Op):
    """Half of the channels, times silu of the other half. Pointwise. (B, 2C, H, W) -> (B, C, H, W)"""

    in_place = True

    def __call__(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, 1)
        return value * silu(gate)

    def apply_in_place(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, 1)
        return value * silu.apply_in_place(gate)


class EfficientViTBlock(nn.Module):
    def __init__(self, c: int, scales: tuple[int, ...], head: int, joined: bool):
        super().__init__()
        self.attn, self.conv_out = Attention(c, scales, head, joined), GatedConv(c)

    def ops(self) -> Ops:
        return chain(self.attn, self.conv_out)
