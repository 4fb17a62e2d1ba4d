"""Autoencoder-KL with a decoder that sees the frames before and after: Stable Video Diffusion.

Blattmann et al. 2023 (https://arxiv.org/abs/2311.15127); reference: Stability-AI/generative-models
sgm/modules/autoencoding/temporal_ae.py, whose names the parameters bear, and diffusers' AutoencoderKLTemporalDecoder.
The encoder is SD's, frame by frame; a clip has as many latent frames as frames.

The decoder's temporal layers see all frames at once, so a clip is not cut in time. Each is added in the share that
sigmoid(mix_factor) says: (1 - share) * x + share * (x + layer(x)) is x + share * layer(x).
"""

# Stable Video Diffusion's. Blocks of a level in brackets:
#   encoder   conv_in 3->128 | down 128 256 512 512 (2 each, halved between) | mid | out 512->8, a frame at a time
#   decoder   conv_in 4->512 | mid | up 512 512 256 128 (3 each, doubled between) | out 128->3 | time_mix_conv 3->3
#             every block: the frame's own layers, then those over three frames

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..devices.cards import to_float64
from ..ops import Conv2d, Conv3d, GroupNormOverFrames, Ops, Residual, chain, keeps_scale, silu
from . import kl
from .blocks.base import ClipLaw, Family, Member
from .blocks.ldm import GROUPS, Coder, Decoder, ResnetBlock
from .names import diffusers, ldm
from .names.layout import Weights
from .shapes import Shapes

IN_TIME = re.compile(r"^decoder\..*\.(?:time_stack\.|mix_factor$|time_mix_conv\.)")
LAST = ("encoder.conv_out.weight", "encoder.conv_out.bias")  # what quant_conv follows
FRAMES = (3, 1, 1)  # the kernel of every temporal convolution


@dataclass(frozen=True)
class SVDConfig(kl.KLConfig):
    """Every residual block of the decoder has a temporal layer of as many channels."""

    @property
    def temporal_ratio(self) -> int | None:
        return 1


def detect(shapes: Shapes) -> SVDConfig | None:
    own = {name: shape for name, shape in shapes.items() if not IN_TIME.search(name)}
    config = kl.detect(own) if len(own) < len(shapes) else None
    return SVDConfig(**vars(config)) if config and config.decoder else None


def _norm(c: int) -> nn.GroupNorm:
    return GroupNormOverFrames(GROUPS, c, eps=1e-5)  # the norms of single frames have 1e-6


class TimeStack(nn.Module):
    """What is added to the frames of a clip, (T, C, H, W), for what is before and after each."""

    def __init__(self, c: int):
        super().__init__()
        self.in_layers = nn.ModuleDict({"0": _norm(c), "2": Conv3d(c, c, FRAMES, around=True)})
        self.out_layers = nn.ModuleDict({"0": _norm(c), "3": Conv3d(c, c, FRAMES, around=True)})

    def ops(self) -> Ops:
        norm1, conv1 = self.in_layers.values()
        norm2, conv2 = self.out_layers.values()
        return chain(norm1, silu, conv1, norm2, silu, conv2)


class VideoResnetBlock(ResnetBlock):
    """(T, c_in, H, W) -> (T, c_out, H, W)"""

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out)
        self.time_stack = TimeStack(c_out)
        self.mix_factor = nn.Parameter(torch.zeros(1))

    def ops(self) -> Ops:
        return (*super().ops(), Residual((*self.time_stack.ops(), keeps_scale(self.share))))

    def share(self, x: Tensor) -> Tensor:
        return x * self.mix_factor.sigmoid()


class ConvOut(Conv2d):
    """To pixels, then once more over frames."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out)
        self.time_mix_conv = Conv3d(c_out, c_out, FRAMES, around=True)

    def ops(self) -> Ops:
        return (self, self.time_mix_conv)


class VideoDecoder(Decoder):
    """z (T, z_channels, h, w) -> pixels (T, out_channels, H, W) in [-1, 1]"""

    def __init__(self, c: Coder, z_channels: int, out_channels: int):
        super().__init__(c, z_channels, out_channels)
        self.mid.block_1, self.mid.block_2 = _in_time(self.mid.block_1), _in_time(self.mid.block_2)
        for level in self.up:
            level.block = nn.ModuleList(_in_time(block) for block in level.get_submodule("block").children())
        self.conv_out = ConvOut(c.widths[0], out_channels)


def _in_time(block: nn.Module) -> VideoResnetBlock:
    assert isinstance(block, ResnetBlock)
    return VideoResnetBlock(block.conv1.in_channels, block.conv1.out_channels)


class VideoKL(kl.AutoencoderKL):
    def __init__(self, c: SVDConfig):
        super().__init__(c)
        self.decoder = VideoDecoder(c.decoder, c.z_channels, c.out_channels) if c.decoder else None
        self.clip_law = ClipLaw()


def fold_quant_conv(weights: Weights, config: SVDConfig) -> Weights:
    """The authors' file has no quant_conv: one 1x1 convolution after another, 3x3, is a 3x3 convolution."""
    if "quant_conv.weight" not in weights:
        return weights
    of = {name: to_float64(weights[name]) for name in ("quant_conv.weight", "quant_conv.bias", *LAST)}
    mix = of["quant_conv.weight"].flatten(1)
    folded = {
        LAST[0]: torch.einsum("oc,cikl->oikl", mix, of[LAST[0]]),
        LAST[1]: mix @ of[LAST[1]] + of["quant_conv.bias"],
    }
    kept = {name: t for name, t in weights.items() if not name.startswith("quant_conv.")}
    return kept | {name: t.to(weights[name]) for name, t in folded.items()}


def add_quant_conv(weights: Weights, config: SVDConfig) -> Weights:
    """diffusers' class always has a quant_conv: where there is none, one that changes nothing."""
    if LAST[0] not in weights or "quant_conv.weight" in weights:
        return weights
    bias = weights[LAST[1]]
    identity = torch.eye(len(bias), dtype=bias.dtype, device=bias.device)[..., None, None]
    return {**weights, "quant_conv.weight": identity, "quant_conv.bias": torch.zeros_like(bias)}


LAYOUTS = (
    ldm.LDM._replace(held=fold_quant_conv),
    diffusers.TURNED_IN_TIME._replace(held=add_quant_conv),
    diffusers.TURNED_OLDER,
    *ldm.HALVES,
    *diffusers.TURNED_HALVES,
)

FAMILY = Family(
    name="svd",
    title="Autoencoder-KL with a temporal decoder",
    detect=detect,
    build=VideoKL,
    example=SVDConfig(**{**vars(kl.FAMILY.example), "quant_conv": False, "post_quant_conv": False}),
    layouts=LAYOUTS,
    members=(Member("Stable Video Diffusion", 4, 8, 1),),
)
