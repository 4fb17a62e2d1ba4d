"""Paella's VQ autoencoder: stage A of Stable Cascade and of Würstchen, 4 channels at 1/4.

Rampas et al. 2022 (https://arxiv.org/abs/2211.07292), Pernias et al. 2023 (https://arxiv.org/abs/2306.00637).
Reference: diffusers' PaellaVQModel, whose names the parameters bear, and Stability-AI/StableCascade modules/stage_a.py
(MIT).

Three surprises. The network sees pixels in [0, 1]. Its convolutions continue an image by its outermost pixels, not by
zeros. And its codebook rests: both models' latents are continuous, and their pipelines decode them as they are.
`network.vquantizer` does it by hand.
"""

# Stable Cascade's stage A. Blocks of a level in brackets:
#   encoder   unshuffle | in_block 12->192 | 192(1) | 4x4, halved: 192->384 | 384(1) | 384->4, batch norm
#   codebook  8192 codes of 4, which rest
#   decoder   4->384 | 384(12) | 4x4, doubled: 384->192 | 192(1) | out_block 192->12 | shuffle

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops import (
    Affine,
    Conv2d,
    Op,
    Ops,
    PixelShuffle,
    PixelUnshuffle,
    Residual,
    Window,
    chain,
    conv_transpose2d,
    linear,
)
from .blocks.base import Bordered, Family, Member, Network, Row
from .blocks.norms import BatchNorm
from .names import cascade
from .shapes import Shapes, count, size, vote
from .vq import CODES, Codebook, codes

PATCH = 2  # pixels of a side that become one of four times the channels, before the first level
WIDENING = 4  # of the mixture of channels


@dataclass(frozen=True)
class PaellaConfig(Bordered):
    z_channels: int
    codes: int  # in the codebook, which has z's channels
    widths: tuple[int, ...]  # channels of each level, from the highest resolution
    blocks: int  # of the decoder's lowest resolution; elsewhere there is one
    in_channels: int = 3
    out_channels: int = 3
    parts: tuple[str, ...] = ("encoder", "decoder")
    temporal_ratio: int | None = None

    @property
    def latent_channels(self) -> int:
        return self.z_channels

    @property
    def spatial_ratio(self) -> int:
        return PATCH * 2 ** (len(self.widths) - 1)

    @property
    def decoded_ratio(self) -> int:
        return self.spatial_ratio


def detect(shapes: Shapes) -> PaellaConfig | None:
    found = (_width(shapes, f"down_blocks.{i}.") for i in range(count(shapes, "down_blocks.")))
    widths = tuple(width for width in found if width)
    last = f"down_blocks.{2 * len(widths) - 1}"
    z = vote([size(shapes, f"{last}.0.weight"), size(shapes, f"{last}.1.weight"), size(shapes, f"{last}.1.bias"),
              size(shapes, "up_blocks.0.0.weight", 1), size(shapes, "vquantizer.embedding.weight", 1)])  # fmt: skip
    blocks = count(shapes, "up_blocks.") - 1 - 2 * (len(widths) - 1)  # less the first convolution and all other levels
    if not widths or not z or blocks < 1:
        return None
    made = (size(shapes, f"out_block.0.{tensor}") for tensor in ("weight", "bias"))
    return PaellaConfig(
        z_channels=z,
        codes=codes(shapes, "vquantizer.embedding.weight"),
        widths=widths,
        blocks=blocks,
        in_channels=(size(shapes, "in_block.1.weight", 1) or 0) // PATCH**2 or 3,
        out_channels=vote(n // PATCH**2 for n in made if n and n % PATCH**2 == 0) or 3,
    )


def _width(shapes: Shapes, block: str) -> int | None:
    axes = {"depthwise.1.weight": 0, "depthwise.1.bias": 0, "channelwise.0.weight": 1, "channelwise.2.weight": 0,
            "channelwise.2.bias": 0}  # fmt: skip
    return vote(size(shapes, block + name, axis) for name, axis in axes.items())


@dataclass(frozen=True, eq=False)
class Modulated:
    """Each pixel to mean 0 and variance 1 over its channels, then scaled and shifted, all alike. Pointwise."""

    gammas: Tensor  # (6,)
    at: int  # the scale is gammas[at], the shift the one after it

    def __call__(self, x: Tensor) -> Tensor:
        y = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], eps=1e-6).permute(0, 3, 1, 2)
        return y * (1 + self.gammas[self.at]) + self.gammas[self.at + 1]


@dataclass(frozen=True, eq=False)
class Scaled(Op):
    """x * gammas[at]. Pointwise. (B, C, H, W) -> same"""

    gammas: Tensor
    at: int
    in_place = True

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.gammas[self.at]

    def apply_in_place(self, x: Tensor) -> Tensor:
        return x.mul_(self.gammas[self.at])


class Linear(Op, nn.Linear):
    """Of every pixel's channels. Pointwise. (B, c_in, H, W) -> (B, c_out, H, W)"""

    def __init__(self, c_in: int, c_out: int):
        nn.Linear.__init__(self, c_in, c_out)
        self.growth = c_out / c_in

    def forward(self, input: Tensor) -> Tensor:
        return linear(input.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class MixingBlock(nn.Module):
    """Each channel's neighbourhood is mixed, then all channels of a pixel. (B, C, H, W) -> same"""

    def __init__(self, c: int):
        super().__init__()
        self.gammas = nn.Parameter(torch.zeros(6))
        self.depthwise = nn.ModuleDict({"1": Conv2d(c, c, groups=c, border="replicate")})
        self.channelwise = nn.ModuleDict({"0": Linear(c, WIDENING * c), "2": Linear(WIDENING * c, c)})

    def ops(self) -> Ops:
        near = (Modulated(self.gammas, 0), self.depthwise["1"], Scaled(self.gammas, 2))
        wide, narrow = self.channelwise.values()
        return Residual(near), Residual((Modulated(self.gammas, 3), wide, F.gelu, narrow, Scaled(self.gammas, 5)))


class Up(Window, nn.ConvTranspose2d):
    """(B, c_in, H, W) -> (B, c_out, 2H, 2W)"""

    rows, span, rows_per_step = (1, 1), 3, 2

    def __init__(self, c_in: int, c_out: int):
        nn.ConvTranspose2d.__init__(self, c_in, c_out, 4, stride=2, padding=1)
        self.growth = 4 * c_out / c_in

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return conv_transpose2d(input, self.weight, self.bias, around=1)

    def apply_unpadded(self, x: Tensor) -> Tensor:
        return conv_transpose2d(x, self.weight, self.bias, around=1, unpadded=True)


def encoder(c: PaellaConfig) -> Row:
    blocks: list[nn.Module] = [MixingBlock(c.widths[0])]
    for narrow, wide in pairwise(c.widths):
        blocks += [Conv2d(narrow, wide, 4, stride=2, pad=(1, 1)), MixingBlock(wide)]
    return Row([*blocks, Row([Conv2d(c.widths[-1], c.z_channels, 1, bias=False), BatchNorm(c.z_channels)])])


def decoder(c: PaellaConfig) -> Row:
    top = c.widths[-1]
    blocks: list[nn.Module] = [Row([Conv2d(c.z_channels, top, 1)]), *(MixingBlock(top) for _ in range(c.blocks))]
    for wide, narrow in pairwise(reversed(c.widths)):
        blocks += [Up(wide, narrow), MixingBlock(narrow)]
    return Row(blocks)


class PaellaVQ(Network):
    gaussian = False

    def __init__(self, c: PaellaConfig):
        super().__init__()
        widest, pixels = c.widths[0], PATCH**2
        self.in_block = nn.ModuleDict({"1": Conv2d(pixels * c.in_channels, widest, 1)})
        self.down_blocks = encoder(c)
        self.vquantizer = Codebook(c.codes, c.z_channels)
        self.up_blocks = decoder(c)
        self.out_block = nn.ModuleDict({"0": Conv2d(widest, pixels * c.out_channels, 1)})

    def encode_ops(self) -> Ops:
        return chain(Affine(0.5, 0.5), PixelUnshuffle(), *self.in_block.values(), self.down_blocks)

    def decode_ops(self) -> Ops:
        return chain(self.up_blocks, *self.out_block.values(), PixelShuffle(), Affine(2.0, -1.0))


FAMILY = Family(
    name="paella",
    title="Paella VQ autoencoder",
    detect=detect,
    build=PaellaVQ,
    example=PaellaConfig(z_channels=4, codes=CODES, widths=(192, 384), blocks=12),
    layouts=(cascade.STAGE_A, cascade.STAGE_A_DIFFUSERS),
    members=(Member("Stable Cascade's stage A, Würstchen", 4, 4),),
)
