"""Cosmos 1.0's continuous tokenizer of clips: 16 channels at 1/8, and one latent frame for eight.

NVIDIA 2025 (https://arxiv.org/abs/2501.03575); reference: diffusers' AutoencoderKLCosmos. Pixels and frames become
channels by a Haar transform, then comes an autoencoder whose convolutions are of two parts, in space and over frames.
The parameters bear the names of NVIDIA's modules, less what wraps them. Norms see single frames, so a clip is run a few
frames at a time; attention in time keeps the keys and values of all frames so far.

Three surprises. There are no moments: the encoder makes z itself. Latents have mean 0 and deviation 1/2, by statistics
for each channel and each of sixteen latent frames, as programs that run Cosmos pass them on. And the transform's
factor is the root of 1/2 in fp32, which in fp64 is another number; what a file holds of it is not read.
"""

# Cosmos-1.0-Tokenizer-CV8x8x8. Blocks of a level in brackets; a: attention in space, then in time; / halves, * doubles
# pixels and frames:
#   encoder   Haar 4x4x4 3->192 | conv_in 192->128 | down 256(2) / 512(2) 512(2) | mid a | out 512->16 | quant_conv
#   decoder   post_quant_conv | conv_in 16->512 | mid a | up 512(3) 512(3) * 256(3) | out 256->192 | Haar, back

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..latents.statistics import COSMOS_MEAN, COSMOS_STD
from ..ops import (
    ChannelsToFrames,
    Conv2d,
    Conv3d,
    FramesToChannels,
    MeanChannels,
    MeanFrames,
    Ops,
    PixelShuffle,
    PixelUnshuffle,
    RepeatFrames,
    Residual,
    Temporal,
    Upsample2x,
    chain,
    join,
    silu,
)
from .blocks.base import ClipLaw, ConfigJson, Family, Halves, Member, Network
from .blocks.cosmos import Coder, Haar, read_coder, read_patch
from .blocks.ldm import AttnBlock
from .blocks.ldm_3d import Kit, ResnetBlock
from .blocks.norms import send
from .names import cosmos as names
from .shapes import Shapes, has_unread_half, size, vote

SIGMA = 0.5  # the deviation of latents (sigma_data of NVIDIA/Cosmos cosmos1/models/diffusion)


@dataclass(frozen=True)
class CosmosConfig(Halves):
    """patch: see read_patch. statistics: does the file hold those of latents? Else they are the published ones."""

    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    patch: int = 4
    statistics: bool = True
    in_channels: int = 3
    out_channels: int = 3

    @property
    def changes(self) -> tuple[tuple[bool, bool], ...]:
        coder = self.encoder or self.decoder
        assert coder
        return coder.changes

    @property
    def spatial_ratio(self) -> int:
        return self.patch * 2 ** sum(in_space for in_space, _ in self.changes)

    @property
    def temporal_ratio(self) -> int:
        return self.patch * 2 ** sum(in_time for _, in_time in self.changes)


def detect(shapes: Shapes) -> CosmosConfig | None:
    encoder, decoder = read_coder(shapes, "encoder", "down"), read_coder(shapes, "decoder", "up")
    held = {name.partition(".")[0] for name in shapes}
    ends = ("quant_conv.weight", "quant_conv.bias", "post_quant_conv.weight", "post_quant_conv.bias")
    z = vote([*(size(shapes, end) for end in ends), size(shapes, "decoder.conv_in.conv_s.weight", 1),
              size(shapes, "encoder.conv_out.conv_s.weight")])  # fmt: skip
    patch = read_patch(shapes)
    if not z or not patch or has_unread_half(shapes, encoder, decoder) or not (encoder or decoder):
        return None
    return CosmosConfig(z, encoder, decoder, patch, statistics=bool({"latent_mean", "latent_std"} & held))


def norm(c: int) -> nn.GroupNorm:
    return nn.GroupNorm(1, c, eps=1e-6)


def in_space(c_in: int, c: int, stride: int = 1) -> Conv3d:
    return Conv3d(c_in, c, (1, 3, 3), stride=(1, stride, stride), pad=(0, 1) if stride > 1 else None)


def in_time(c: int, stride: int = 1) -> Conv3d:
    return Conv3d(c, c, (3, 1, 1), stride=(stride, 1, 1), repeats=True, border="constant")


class Factorized(nn.Module):
    """A convolution in space, then one over frames. Before the first frame is that frame again."""

    def __init__(self, c_in: int, c: int):
        super().__init__()
        self.conv_s, self.conv_t = in_space(c_in, c), in_time(c)

    def ops(self) -> Ops:
        return chain(self.conv_s, self.conv_t)


def conv(c_in: int, c: int, kernel: int = 3) -> nn.Module:
    return Factorized(c_in, c) if kernel > 1 else Conv3d(c_in, c, 1)


KIT = Kit(conv, norm, causal=True)


class TimeAttention(Temporal):
    """Each pixel to itself in this frame and those before, with one head. (T, C, H, W) -> same

    What it knows of earlier frames are their keys and values, (T, 2 C, H, W). A single frame is all it sees.
    """

    def __init__(self, c: int):
        super().__init__()
        self.norm = norm(c)
        self.q, self.k, self.v, self.proj_out = (Conv2d(c, c, 1) for _ in range(4))

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        t, c, h, w = x.shape
        new = join([self.k(x), self.v(x)], 1)
        known = new if past is None else join([past, new])
        q, k, v = (_by_pixel(one) for one in (self.q(x), *known.chunk(2, 1)))
        sees = torch.ones(t, len(known), dtype=torch.bool, device=x.device).tril(len(known) - t)
        y = F.scaled_dot_product_attention(q, k, v, sees)[:, 0]  # (pixels, T, C)
        return self.proj_out(y.transpose(0, 1).reshape(t, h, w, c).permute(0, 3, 1, 2)), known

    def as_single_frame(self) -> Ops:
        return (self.v, self.proj_out)

    def ops(self) -> Ops:
        return (Residual((self.norm, self)),)


def _by_pixel(x: Tensor) -> Tensor:
    """(T, C, H, W) -> (H * W, 1, T, C)"""
    t, c, h, w = x.shape
    return x.permute(2, 3, 0, 1).reshape(h * w, 1, t, c)


class Downsample(nn.Module):
    """Half the rows and columns, and of 2 T - 1 frames T: convolutions, each beside a mean."""

    def __init__(self, c: int, change: tuple[bool, bool]):
        super().__init__()
        self.conv1 = in_space(c, c, 2) if change[0] else None
        self.conv2 = in_time(c, 2) if change[1] else None
        self.conv3 = Conv3d(c, c, 1)

    def ops(self) -> Ops:
        space = (Residual(self.conv1.ops(), (PixelUnshuffle(), MeanChannels(4))),) if self.conv1 else ()
        time = (Residual(self.conv2.ops(), (MeanFrames(),)),) if self.conv2 else ()
        return chain(*space, *time, self.conv3)


class Upsample(nn.Module):
    """The way back: frames, then pixels are doubled, and each time a convolution is added."""

    def __init__(self, c: int, change: tuple[bool, bool]):
        super().__init__()
        self.conv1 = in_time(c) if change[1] else None
        self.conv2 = in_space(c, c) if change[0] else None
        self.conv3 = Conv3d(c, c, 1)

    def ops(self) -> Ops:
        time = (RepeatFrames(), Residual(self.conv1.ops())) if self.conv1 else ()
        space = (Upsample2x(), Residual(self.conv2.ops())) if self.conv2 else ()
        return chain(*time, *space, self.conv3)


class Level(nn.Module):
    """One resolution: residual blocks, then perhaps a change of resolution."""

    def __init__(self, c_in: int, c: int, blocks: int, change: Downsample | Upsample | None):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c_in if i == 0 else c, c, KIT) for i in range(blocks))
        self.downsample = change if isinstance(change, Downsample) else None
        self.upsample = change if isinstance(change, Upsample) else None

    def ops(self) -> Ops:
        return chain(*self.block, self.downsample, self.upsample)


class Middle(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.block_1, self.block_2 = ResnetBlock(c, c, KIT), ResnetBlock(c, c, KIT)
        self.attn_1 = nn.ModuleList((AttnBlock(c, norm), TimeAttention(c)))

    def ops(self) -> Ops:
        return chain(self.block_1, *self.attn_1, self.block_2)


class Encoder(nn.Module):
    """averages and differences (T, 3 patch^3, H, W) -> z (T', z_channels, h, w)"""

    def __init__(self, c: Coder, seen: int, z: int):
        super().__init__()
        self.conv_in = Factorized(seen, c.stem)
        at = zip(c.widths[:-1], c.changes, strict=True)
        changes = [Downsample(width, change) if any(change) else None for width, change in at]
        levels = zip((c.stem, *c.widths[:-1]), c.widths, c.blocks, (*changes, None), strict=True)
        self.down = nn.ModuleList(Level(*level) for level in levels)
        self.mid = Middle(c.widths[-1])
        self.norm_out, self.conv_out = norm(c.widths[-1]), Factorized(c.widths[-1], z)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.down, self.mid, self.norm_out, silu, self.conv_out)


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> averages and differences (T', 3 patch^3, H, W). Level 0 runs last."""

    def __init__(self, c: Coder, z: int, shown: int):
        super().__init__()
        self.conv_in, self.mid = Factorized(z, c.stem), Middle(c.stem)
        at = zip(c.widths[1:], c.changes, strict=True)
        changes = [Upsample(width, change) if any(change) else None for width, change in at]
        levels = zip((*c.widths[1:], c.stem), c.widths, c.blocks, (None, *changes), strict=True)
        self.up = nn.ModuleList(Level(*level) for level in levels)
        self.norm_out, self.conv_out = norm(c.widths[0]), Factorized(c.widths[0], shown)

    def ops(self) -> Ops:
        return chain(self.conv_in, self.mid, *reversed(self.up), self.norm_out, silu, self.conv_out)


class CosmosVAE(Network):
    gaussian = False

    def __init__(self, c: CosmosConfig):
        super().__init__()
        z, self.patch, self.stored = c.z_channels, c.patch, c.statistics
        self.encoder = Encoder(c.encoder, c.in_channels * c.patch**3, z) if c.encoder else None
        self.decoder = Decoder(c.decoder, z, c.out_channels * c.patch**3) if c.decoder else None
        self.quant_conv = Conv3d(z, z, 1) if c.encoder else None
        self.post_quant_conv = Conv3d(z, z, 1) if c.decoder else None
        if c.statistics:
            self.register_buffer("latent_mean", torch.zeros(len(COSMOS_MEAN)))
            self.register_buffer("latent_std", torch.ones(len(COSMOS_STD)))
        self.clip_law = ClipLaw(1, c.temporal_ratio)

    def encode_ops(self) -> Ops:
        patches = (FramesToChannels(self.patch, repeats=True), PixelUnshuffle(n=self.patch), Haar(self._halvings))
        return chain(*patches, self.encoder, self.quant_conv)

    def to_latent_ops(self) -> Ops:
        return (self.normalize,)

    def from_latent_ops(self) -> Ops:
        return (self.denormalize,)

    def decode_ops(self) -> Ops:
        pixels = (Haar(self._halvings, back=True), PixelShuffle(n=self.patch), ChannelsToFrames(self.patch))
        return chain(self.post_quant_conv, self.decoder, *pixels)

    @property
    def _halvings(self) -> int:
        return self.patch.bit_length() - 1

    def normalize(self, x: Tensor) -> Tensor:
        """z (B, C, H, W) or (B, C, T, H, W) -> the latent"""
        mean, std = self._statistics(x)
        return (x - mean) / std * SIGMA

    def denormalize(self, x: Tensor) -> Tensor:
        """The way back."""
        mean, std = self._statistics(x)
        return x / SIGMA * std + mean

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel in each of 16 latent frames, (16 * channels,): the file's, or those that
        are published.
        """
        if not self.stored:
            return torch.tensor(COSMOS_MEAN, device="cpu"), torch.tensor(COSMOS_STD, device="cpu")
        return self.get_buffer("latent_mean"), self.get_buffer("latent_std")

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """For each frame of x. After 16 they begin anew: NVIDIA's programs encode every 121 frames by themselves."""
        frames = x.shape[2] if x.ndim == 5 else 1
        own = [send(one.to(x.dtype), x).view(1, x.shape[1], -1) for one in self.statistics()]
        times = math.ceil(frames / own[0].shape[2])
        mean, std = (one.repeat(1, 1, times)[:, :, :frames, None, None] for one in own)
        return (mean, std) if x.ndim == 5 else (mean[:, :, 0], std[:, :, 0])


def read_config_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"patch_type": "haar"}


_UP_AND_DOWN = ((True, True), (False, False))

FAMILY = Family(
    name="cosmos",
    title="Cosmos' tokenizer of clips",
    detect=detect,
    build=CosmosVAE,
    example=CosmosConfig(
        z_channels=16,
        encoder=Coder(128, (256, 512, 512), (2,) * 3, _UP_AND_DOWN),
        decoder=Coder(512, (256, 512, 512), (3,) * 3, _UP_AND_DOWN),
    ),
    layouts=(names.COSMOS, names.COSMOS_DIFFUSERS, names.REFERENCE),
    config_json=ConfigJson(("AutoencoderKLCosmos",), read_config_json),
    members=(Member("Cosmos 1.0", 16, 8, 8),),
)
