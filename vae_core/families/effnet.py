"""Stage C of Stable Cascade: an EfficientNetV2-S that encodes images to 1/32, and a small decoder for previews.

Tan & Le 2021 (https://arxiv.org/abs/2104.00298); Pernias et al. 2023 (https://arxiv.org/abs/2306.00637). Reference:
Stability-AI/StableCascade modules/effnet.py and previewer.py (MIT), torchvision's efficientnet_v2_s (BSD), whose names
the parameters bear under `encoder.backbone.`.

Three surprises. The encoder sees pixels in [0, 1] less ImageNet's mean, by its deviation. What it makes is read by
stage B, not decoded: the previewer gives an image of 8 pixels to one of the latent, a quarter of the size that was
encoded. And Stable Cascade's latents are usually made at about 1/42: images are scaled down before they are encoded.
"""

# Stable Cascade's stage C. Blocks of a stage in brackets; / halves:
#   encoder   conv 3->24, halved | 24(2) / 48(4) / 64(4) / 128(6) 160(9) / 256(15) | conv 256->1280 | mapper 1280->16
#   decoder   16->512 | 512 * 256 * 128 * 128, a convolution each, doubled between | 128->3

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..devices.dtypes import at_least_fp32
from ..ops import Affine, Conv2d, Op, Ops, Residual, Sums, chain, conv_transpose2d, silu
from .blocks.base import Family, Halves, Member, Network, Row
from .blocks.norms import IMAGENET, BatchNorm, send_numbers
from .names import cascade
from .shapes import Shapes, size, vote
from .tiny import Numbered

RATIO, PREVIEW = 32, 8  # pixels to one of the latent: of the image that is encoded, of the one that is decoded
EPS = 1e-3  # of the backbone's batch norms (torchvision efficientnet.py)
FEATURES = 1280


class Stage(NamedTuple):
    """Blocks of one width; the first has the stride."""

    blocks: int
    width: int
    stride: int
    expansion: int
    fused: bool  # one 3x3 convolution instead of a 1x1 and a depthwise one; no squeeze and excitation


# Table 4 of the paper; first, a convolution to 24 channels at half the size.
STEM = 24
STAGES = (
    Stage(2, 24, 1, 1, True),
    Stage(4, 48, 2, 4, True),
    Stage(4, 64, 2, 4, True),
    Stage(6, 128, 2, 4, False),
    Stage(9, 160, 1, 6, False),
    Stage(15, 256, 2, 6, False),
)
SQUEEZE = 4  # times fewer channels than the block's input


@dataclass(frozen=True)
class EffNetConfig(Halves):
    z_channels: int
    encoder: bool
    decoder: int | None  # channels of the previewer next to the latent
    statistics: bool = False  # does the file hold ImageNet's mean and deviation?
    in_channels: int = 3
    out_channels: int = 3

    @property
    def spatial_ratio(self) -> int:
        return RATIO

    @property
    def decoded_ratio(self) -> int:
        return PREVIEW


OWN = {
    "encoder": re.compile(r"encoder\.(backbone\.\d|mapper\.\d|mean$|std$)"),
    "decoder": re.compile(r"decoder\.blocks\.\d+\.(weight|bias|running_mean|running_var)$"),
}


def detect(shapes: Shapes) -> EffNetConfig | None:
    halves = [half for half in OWN if any(name.startswith(f"{half}.") for name in shapes)]
    if not halves or not all(_is_own(shapes, half) for half in halves):
        return None
    z = vote([size(shapes, "encoder.mapper.0.weight"), size(shapes, "encoder.mapper.1.running_mean"),
              size(shapes, "encoder.mapper.1.running_var"), size(shapes, "decoder.blocks.0.weight", 1)])  # fmt: skip
    width = vote(size(shapes, f"decoder.blocks.{i}.{t}") for i in (0, 2, 3, 5) for t in ("weight", "bias"))
    if not z or ("decoder" in halves and (not width or width % 4)):
        return None
    return EffNetConfig(
        z_channels=z,
        encoder="encoder" in halves,
        decoder=width,
        statistics="encoder.mean" in shapes or "encoder.std" in shapes,
        out_channels=vote(size(shapes, f"decoder.blocks.24.{t}") for t in ("weight", "bias")) or 3,
    )


def _is_own(shapes: Shapes, half: str) -> bool:
    """Do most of the half's names occur in this network?"""
    held = [OWN[half].match(name) for name in shapes if name.startswith(f"{half}.")]
    return sum(map(bool, held)) * 2 > len(held)


class ConvNorm(nn.ModuleDict):
    """A convolution, a batch norm, and an activation or none."""

    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int = 1, groups: int = 1, act: bool = True):
        conv = Conv2d(c_in, c_out, kernel_size, stride=stride, groups=groups, bias=False)
        super().__init__({"0": conv, "1": BatchNorm(c_out, eps=EPS)})
        self.act = silu if act else None

    def ops(self) -> Ops:
        return chain(*self.values(), self.act)


class SqueezeExcitation(Sums):
    """Every channel times a gate, which the means of all channels decide. (B, C, H, W) -> same

    Hu et al. 2017 (https://arxiv.org/abs/1709.01507). The means are taken in fp32 at least.
    """

    def __init__(self, c: int, squeezed: int):
        super().__init__()
        self.fc1, self.fc2 = Conv2d(c, squeezed, 1), Conv2d(squeezed, c, 1)

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        exact = at_least_fp32(x.dtype)
        total = x.sum((2, 3), dtype=exact)[:, None, None]
        return total, torch.full_like(total[..., :1], x.shape[-1] * x.shape[-2])

    def recall(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        total, pixels = memory
        mean = (total / pixels).flatten(1)[..., None, None].to(x.dtype)
        return x * torch.sigmoid(self.fc2(silu(self.fc1(mean))))

    def work(self, made: Tensor) -> float:
        return made.numel()


class Block(nn.Module):
    """(B, c_in, H, W) -> (B, stage.width, H / stride, W / stride)"""

    def __init__(self, c_in: int, stage: Stage, stride: int):
        super().__init__()
        c, wide = stage.width, stage.expansion * c_in
        if not stage.fused:
            squeezed = SqueezeExcitation(wide, c_in // SQUEEZE)
            parts = [ConvNorm(c_in, wide, 1), ConvNorm(wide, wide, 3, stride, wide), squeezed]
        else:
            parts = [ConvNorm(c_in, wide, 3, stride)]
        self.block = nn.ModuleList(parts if wide == c and stage.fused else [*parts, ConvNorm(wide, c, 1, act=False)])
        self.adds = stride == 1 and c_in == c

    def ops(self) -> Ops:
        body = chain(*self.block)
        return (Residual(body),) if self.adds else body


def blocks(c_in: int, stage: Stage) -> Row:
    widths = (c_in, *[stage.width] * (stage.blocks - 1))
    return Row(Block(c, stage, 1 if i else stage.stride) for i, c in enumerate(widths))


class Encoder(nn.Module):
    """pixels (B, 3, H, W) in [-1, 1] -> z (B, z_channels, H / 32, W / 32), of mean 0 and variance 1"""

    mean: Tensor
    std: Tensor

    def __init__(self, c: EffNetConfig):
        super().__init__()
        self.statistics = c.statistics
        for name, values in zip(("mean", "std") if c.statistics else (), IMAGENET, strict=False):
            self.register_buffer(name, torch.tensor(values))
        stages = [blocks(c_in, stage) for c_in, stage in zip((STEM, *(s.width for s in STAGES)), STAGES, strict=False)]
        last = ConvNorm(STAGES[-1].width, FEATURES, 1)
        self.backbone = nn.ModuleList([ConvNorm(c.in_channels, STEM, 3, 2), *stages, last])
        self.mapper = nn.ModuleList(
            [Conv2d(FEATURES, c.z_channels, 1, bias=False), BatchNorm(c.z_channels, affine=False)]
        )

    def ops(self) -> Ops:
        return chain(Affine(0.5, 0.5), self.normalised, *self.backbone, *self.mapper)

    def normalised(self, x: Tensor) -> Tensor:
        told = (self.mean, self.std) if self.statistics else (send_numbers(t, x, x.dtype) for t in IMAGENET)
        mean, std = told
        return (x - mean[:, None, None].to(x)) / std[:, None, None].to(x)


class Doubling(Op, nn.ConvTranspose2d):
    """Every pixel becomes 2 x 2. Pointwise. (B, c_in, H, W) -> (B, c_out, 2H, 2W)"""

    rows_per_step = 2

    def __init__(self, c_in: int, c_out: int):
        nn.ConvTranspose2d.__init__(self, c_in, c_out, 2, stride=2)
        self.growth = 4 * c_out / c_in

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return conv_transpose2d(input, self.weight, self.bias, around=0)


class Previewer(nn.Module):
    """z (B, z_channels, h, w) -> pixels (B, 3, 8 h, 8 w) in [-1, 1]"""

    def __init__(self, z_channels: int, width: int, out_channels: int):
        super().__init__()
        half, quarter = width // 2, width // 4
        convs = [Conv2d(z_channels, width, 1), Conv2d(width, width), Doubling(width, half), Conv2d(half, half),
                 Doubling(half, quarter), Conv2d(quarter, quarter), Doubling(quarter, quarter),
                 Conv2d(quarter, quarter)]  # fmt: skip
        layers: list[Any] = [layer for conv in convs for layer in (conv, F.gelu, BatchNorm(conv.out_channels))]
        self.blocks = Numbered([*layers, Conv2d(quarter, out_channels, 1)])

    def ops(self) -> Ops:
        return chain(self.blocks, Affine(2.0, -1.0))


class EffNet(Network):
    gaussian = False

    def __init__(self, c: EffNetConfig):
        super().__init__()
        self.encoder = Encoder(c) if c.encoder else None
        self.decoder = Previewer(c.z_channels, c.decoder, c.out_channels) if c.decoder else None

    def encode_ops(self) -> Ops:
        return chain(self.encoder)

    def decode_ops(self) -> Ops:
        return chain(self.decoder)


FAMILY = Family(
    name="effnet",
    title="EfficientNetV2 encoder and previewer",
    detect=detect,
    build=EffNet,
    example=EffNetConfig(z_channels=16, encoder=True, decoder=512),
    layouts=(cascade.STAGE_C, *cascade.STAGE_C_HALVES),
    members=(Member("Stable Cascade's stage C: encoder, previewer", 16, 32),),
)
