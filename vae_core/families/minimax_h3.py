"""MiniMax-H3's autoencoder of clips: 24 channels at 1/16, and five latent frames for seventeen.

MiniMax 2026; reference: diffusers' AutoencoderKLMiniMaxH3 (Apache-2.0). Convolutions over frames encode, and a vision
transformer decodes. Latents are normalised by statistics, which its authors keep in the file.

The surprise: tiles are part of it. Its authors released it so, and the image is the blended one: tiles of 256 pixels,
of clips in chunks of 17 frames. Frames of a chunk are encoded from nothing, causally: of each 17 the first becomes a
latent frame, and every four after it. Seven latent frames are decoded together, to 22 frames, of which five fade into
the next chunk's. So a clip has 17 n + 5 frames.
"""

# Blocks of a level in brackets; / halves, t: in time too:
#   encoder   conv_in 3->128 | down 128(2) / 256(2) /t 256(2) /t 512(2) / 512(2) 1024(2) | out 1024->48 | quant_conv
#   decoder   post_quant_conv | 24->2048 | 4 learned tokens, 1 of zeros | 36 layers | 2048 -> 4x16x16 pixels of 3

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from ..latents.statistics import MINIMAX_H3_MEAN, MINIMAX_H3_STD
from ..ops import Affine, Chunked, Conv3d, Ops, PixelShuffle, Tiled, chain, silu
from .blocks.base import ConfigJson, Family, Halves, Member, Network
from .blocks.clip_law import MINIMAX_H3
from .blocks.ldm import GROUPS
from .blocks.ldm_3d import Kit, ResnetBlock
from .blocks.minimax_h3 import EPS, HEAD, Layer, Spread, Tokens
from .blocks.norms import IMAGENET, Normalising, Standardise, send_numbers
from .blocks.vit import Linear, Norm
from .names import minimax_h3 as names
from .shapes import Shapes, count, has_unread_half, size, vote

RATIO = 4  # frames to one of the latent, but for the first of a chunk
IN_TIME = (1, 2)  # levels after which the number of frames changes too
LAW = MINIMAX_H3  # a step of it is encoded together
SEEN = 7  # latent frames that are decoded together
SIDE, OVERLAP = 16, 4  # of tiles, in pixels of the latent: 256 and 64 of the image
STATISTICS = {"latents_mean": MINIMAX_H3_MEAN, "latents_std": MINIMAX_H3_STD}


@dataclass(frozen=True)
class Encoder:
    widths: tuple[int, ...]  # channels of each level, from the highest resolution
    blocks: tuple[int, ...]  # residual blocks of each level
    stem: int
    halvings: int  # of the image: after so many levels, the first ones


@dataclass(frozen=True)
class Decoder:
    width: int  # channels of a token
    layers: int
    hidden: int  # channels within a layer
    register: int  # tokens that were learned
    patch: int  # pixels to one of the latent


@dataclass(frozen=True)
class MiniMaxH3Config(Halves):
    """fused: as its authors' files have it, with queries, keys and values in one tensor, and the gate first

    statistics: does the file hold those of latents? Else they are the published ones.
    side, overlap: of tiles, in pixels of the latent; every published one has these.
    """

    z_channels: int
    encoder: Encoder | None
    decoder: Decoder | None
    fused: bool = True
    statistics: bool = True
    in_channels: int = 3
    out_channels: int = 3
    side: int = SIDE
    overlap: int = OVERLAP

    @property
    def spatial_ratio(self) -> int:
        if self.encoder:
            return 2**self.encoder.halvings
        assert self.decoder
        return self.decoder.patch

    @property
    def temporal_ratio(self) -> int:
        return RATIO


def detect(shapes: Shapes) -> MiniMaxH3Config | None:
    encoder = _read_encoder(shapes)
    decoder = _read_decoder(shapes, encoder)
    moments = [size(shapes, f"{layer}.{t}") for layer in ("quant_conv", "encoder.conv_out") for t in ("weight", "bias")]
    z = vote([size(shapes, "decoder.x_embedder.weight", 1), size(shapes, "post_quant_conv.weight"),
              size(shapes, "post_quant_conv.bias"), *(n // 2 for n in moments if n)])  # fmt: skip
    if not z or has_unread_half(shapes, encoder, decoder) or not (encoder or decoder):
        return None
    layers = "decoder.transformer_blocks.0.attn."
    fused = not decoder or any(name.startswith(f"{layers}qkv_proj.") for name in shapes)
    return MiniMaxH3Config(z, encoder, decoder, fused, statistics=any(name in shapes for name in STATISTICS))


def _read_encoder(shapes: Shapes) -> Encoder | None:
    levels = [f"encoder.down.{i}." for i in range(count(shapes, "encoder.down."))]
    widths = [_read_width(shapes, level) for level in levels]
    stem = vote([size(shapes, "encoder.conv_in.weight"), size(shapes, "encoder.conv_in.bias"),
                 size(shapes, "encoder.down.0.block.0.norm1.weight")])  # fmt: skip
    found = Encoder(
        widths=tuple(width for width in widths if width),
        blocks=tuple(count(shapes, f"{level}block.") for level in levels),
        stem=stem or 0,
        halvings=sum(any(name.startswith(f"{level}downsample.") for name in shapes) for level in levels),
    )
    convs = [len(shape) for name, shape in shapes.items() if name.endswith((".conv1.weight", ".conv2.weight"))]
    foreign = any(name.startswith(("encoder.mid.", "decoder.mid.", "decoder.up.")) for name in shapes)
    whole = all(found.blocks) and len(found.widths) == len(levels) and not any(n % GROUPS for n in found.widths)
    known = found.halvings > max(IN_TIME) and convs.count(5) * 2 > len(convs) and not foreign
    return found if whole and known and found.stem and found.stem % GROUPS == 0 else None


def _read_width(shapes: Shapes, level: str) -> int | None:
    tensors = ("conv1.weight", "conv1.bias", "norm2.weight", "norm2.bias", "conv2.weight", "conv2.bias")
    return vote(size(shapes, f"{level}block.{i}.{t}") for i in range(2) for t in tensors)


def _read_decoder(shapes: Shapes, encoder: Encoder | None) -> Decoder | None:
    first = "decoder.transformer_blocks.0."
    if f"{first}scale1" not in shapes and f"{first}scale2" not in shapes:
        return None
    hidden = [size(shapes, f"{first}ff.w1.{t}") for t in ("weight", "bias")]
    pixels = [size(shapes, f"decoder.pixel_proj.{t}") for t in ("weight", "bias")]
    patches = [isqrt(n // (3 * RATIO)) for n in pixels if n]
    found = Decoder(
        width=vote(size(shapes, f"{first}{t}") for t in ("scale1", "scale2", "norm1.weight", "norm2.weight")) or 0,
        layers=count(shapes, "decoder.transformer_blocks."),
        hidden=vote([*(n // 2 for n in hidden if n), size(shapes, f"{first}ff.w2.weight", 1)]) or 0,
        register=size(shapes, "decoder.register_tokens", 1) or 0,
        patch=vote([*patches, 2**encoder.halvings if encoder else None]) or 0,
    )
    return found if all(vars(found).values()) and found.width % HEAD == 0 else None


def conv(c_in: int, c: int, kernel: int = 3) -> Conv3d:
    return Conv3d(c_in, c, kernel, border="reflect" if kernel > 1 else None)


def norm(c: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, c, eps=1e-6)


KIT = Kit(conv, norm, causal=True)


class Downsample(nn.Module):
    """Half the rows and columns, and of 2 T - 1 frames T, if `in_time`."""

    def __init__(self, c: int, in_time: bool):
        super().__init__()
        self.conv = Conv3d(c, c, 3, stride=(2 if in_time else 1, 2, 2), pad=(0, 1), border="reflect")

    def ops(self) -> Ops:
        return self.conv.ops()


class Level(nn.Module):
    """One resolution: residual blocks, then perhaps a change of resolution."""

    def __init__(self, c_in: int, c: int, blocks: int, downsample: Downsample | None):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c_in if i == 0 else c, c, KIT) for i in range(blocks))
        self.downsample = downsample

    def ops(self) -> Ops:
        return chain(*self.block, self.downsample)


class CNNEncoder(nn.Module):
    """colours (T, 3, H, W) -> moments (T', 2 * z_channels, h, w)"""

    def __init__(self, c: Encoder, in_channels: int, z: int):
        super().__init__()
        self.conv_in = conv(in_channels, c.stem)
        changes = [Downsample(width, i in IN_TIME) if i < c.halvings else None for i, width in enumerate(c.widths)]
        levels = zip((c.stem, *c.widths[:-1]), c.widths, c.blocks, changes, strict=True)
        self.down = nn.ModuleList(Level(*level) for level in levels)
        self.norm_out, self.conv_out = norm(c.widths[-1]), conv(c.widths[-1], 2 * z)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.down, self.norm_out, silu, self.conv_out)


class ViTDecoder(nn.Module):
    """z (7, z_channels, h, w) -> colours (22, 3, H, W)"""

    def __init__(self, c: Decoder, z: int, out_channels: int, fused: bool):
        super().__init__()
        self.patch = c.patch
        self.register_tokens = nn.Parameter(torch.zeros(1, c.register, c.width))
        if fused:
            self.mask_token = nn.Parameter(torch.zeros(1, 1, c.width))  # of training: nothing reads it
        self.x_embedder = Linear(z, c.width)
        self.transformer_blocks = nn.ModuleList(Layer(c.width, c.hidden, fused) for _ in range(c.layers))
        self.norm_out = Norm(c.width, EPS)
        self.pixel_proj = Linear(c.width, out_channels * RATIO * c.patch**2)

    def ops(self) -> Ops:
        layers = chain(*self.transformer_blocks, self.norm_out)
        tokens = Tokens(layers, self.register_tokens[0])
        return chain(self.x_embedder, tokens, self.pixel_proj, PixelShuffle(n=self.patch), Spread(RATIO, LAW.counts))


class MiniMaxH3VAE(Normalising, Network):
    def __init__(self, c: MiniMaxH3Config):
        super().__init__()
        self.config, z = c, c.z_channels
        self.encoder = CNNEncoder(c.encoder, c.in_channels, z) if c.encoder else None
        self.decoder = ViTDecoder(c.decoder, z, c.out_channels, c.fused) if c.decoder else None
        self.quant_conv = Conv3d(2 * z, 2 * z, 1) if c.encoder else None
        self.post_quant_conv = Conv3d(z, z, 1) if c.decoder else None
        if c.statistics:
            self.register_buffer("latents_mean", torch.zeros(z))
            self.register_buffer("latents_std", torch.ones(z))
        self.clip_law = LAW

    def encode_ops(self) -> Ops:
        ratio = self.config.spatial_ratio, 1
        body = chain(Affine(0.5, 0.5), Standardise(*self._colours()), self.encoder, self.quant_conv)
        return self._tile(Chunked(body, LAW.step, LAW.step, LAW.next_latents, LAW.latents, ratio), ratio)

    def to_latent_ops(self) -> Ops:
        return (self.normalize,)

    def from_latent_ops(self) -> Ops:
        return (self.denormalize,)

    def decode_ops(self) -> Ops:
        ratio = 1, self.config.spatial_ratio
        colours = Standardise(*self._colours(), back=True), Affine(2.0, -1.0)
        body = chain(self.post_quant_conv, self.decoder, *colours)
        chunks = Chunked(body, SEEN, LAW.next_latents, LAW.step, LAW.decoded, ratio, continues=True)
        return self._tile(chunks, ratio)

    def _tile(self, chunks: Chunked, ratio: tuple[int, int]) -> Ops:
        return (Tiled((chunks,), self.config.side, self.config.overlap, ratio),)

    def _colours(self) -> tuple[Tensor, Tensor]:
        like = next(self.parameters())
        mean, std = (send_numbers(numbers, like, torch.float64) for numbers in IMAGENET)
        return mean[None, :, None, None], std[None, :, None, None]

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The file's, or those that are published; of a VAE of other channels none are."""
        if self.config.statistics:
            held = [self.get_buffer(name).to(x.device, x.dtype) for name in STATISTICS]
        elif self.config.z_channels == len(MINIMAX_H3_MEAN):
            held = [send_numbers(numbers, x, x.dtype) for numbers in STATISTICS.values()]
        else:
            held = [x.new_zeros(1), x.new_ones(1)]
        mean, std = (numbers.view(-1, *(1,) * (x.ndim - 2)) for numbers in held)
        return mean, std


def read_config_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What shapes do not tell; and the statistics, which pipelines read there."""
    usual = {"clip_length": LAW.step, "token_drop": 3, "norm_num_groups": GROUPS, "norm_eps": 1e-6}
    usual |= {"spatial_padding_mode": "reflect", "decoder_attention_head_dim": HEAD, "decoder_norm_eps": EPS}
    return {**usual, "decoder_rope_theta": 100.0, "decoder_rope_dim_ratio": 0.75}


FAMILY = Family(
    name="minimax_h3",
    title="MiniMax-H3's autoencoder",
    detect=detect,
    build=MiniMaxH3VAE,
    example=MiniMaxH3Config(
        z_channels=24,
        encoder=Encoder((128, 256, 256, 512, 512, 1024), (2,) * 6, stem=128, halvings=4),
        decoder=Decoder(2048, layers=36, hidden=8192, register=4, patch=16),
    ),
    layouts=(names.MINIMAX, names.MINIMAX_DIFFUSERS),
    config_json=ConfigJson(("AutoencoderKLMiniMaxH3",), read_config_json),
    members=(Member("MiniMax-H3", 24, 16, 4),),
)
