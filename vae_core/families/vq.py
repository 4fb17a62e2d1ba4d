"""Autoencoders with a codebook: VQGAN (aMUSEd, the VQ models of latent diffusion) and MoVQ (Kandinsky 2).

Esser et al. 2020 (https://arxiv.org/abs/2012.09841); Zheng et al. 2022, "MoVQ" (https://arxiv.org/abs/2209.09002).
The blocks are those of latent diffusion; reference: diffusers' VQModel and SpatialNorm. z is what the encoder makes,
before any codebook.

Two surprises. MoVQ's decoder looks at z again in every norm, which scales and shifts by it. And its codebook rests: the
latents of Kandinsky's models are continuous, and its pipelines decode them as they are (`force_not_quantize`). Without
that norm z is quantised before it is decoded; `network.quantize` does it by hand.
"""

# aMUSEd's. Blocks of a level in brackets:
#   encoder   conv_in 3->128 | down 128 256 256 512 768 (2 each, halved between) | mid | out 768->64 | quant_conv 64->64
#   codebook  8192 codes of 64
#   decoder   post_quant_conv 64->64 | conv_in 64->768 | mid | up 768 512 256 256 128 (3 each) | out 128->3

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops import Conv2d, Ops, chain
from . import kl
from .blocks.base import ConfigJson, Family, Halves, Member, Network
from .blocks.ldm import (
    GROUPS,
    Coder,
    Decoder,
    Encoder,
    Norm,
    SpatialNorm,
    is_2d,
    keeps_channels,
    makes_moments,
    read_coder,
    without_spatial_norms,
)
from .names import diffusers, ldm, llamagen
from .shapes import Shapes, size, vote

CODES, MOST_CODES = 8192, 2**20
DISTANCES = 2**20  # between pixels and codes, computed at once: less than bands take, and faster on a CPU than more


@dataclass(frozen=True)
class VQConfig(Halves):
    z_channels: int  # what the encoder's conv_out makes and the decoder's conv_in reads
    embed_dim: int  # channels of a code, and so of z between the quant convs
    codes: int  # in the codebook
    encoder: Coder
    decoder: Coder
    spatial: bool = False  # MoVQ: the decoder's norms look at z
    in_channels: int = 3
    out_channels: int = 3

    @property
    def latent_channels(self) -> int:
        return self.embed_dim


def detect(shapes: Shapes, norm_groups: int = GROUPS) -> VQConfig | None:
    own, spatial = without_spatial_norms({n: s for n, s in shapes.items() if not n.startswith("quantize.")})
    coded = any(name.startswith("quantize.") for name in shapes) or not makes_moments(own)
    if not coded or not is_2d(own) or not keeps_channels(own) or llamagen.is_transformers(shapes):
        return None
    encoder = read_coder(own, "encoder", norm_groups)
    decoder = read_coder(own, "decoder", GROUPS if spatial else norm_groups)  # as diffusers' SpatialNorm has
    z, embed = channels_around_codes(own, shapes)
    if not (encoder and decoder and z and embed):
        return None
    return VQConfig(
        z_channels=z,
        embed_dim=embed,
        codes=codes(shapes, "quantize.embedding.weight"),
        encoder=encoder,
        decoder=decoder,
        spatial=spatial,
        in_channels=size(own, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(own, "decoder.conv_out.weight"), size(own, "decoder.conv_out.bias")]) or 3,
    )


def channels_around_codes(own: Shapes, shapes: Shapes) -> tuple[int | None, int | None]:
    """Channels between the quant convs and the halves, and those of a code. own: names of latent diffusion."""
    z = vote([size(own, "decoder.conv_in.weight", 1), size(own, "encoder.conv_out.weight"),
              size(own, "encoder.conv_out.bias"), size(own, "post_quant_conv.weight"),
              size(own, "quant_conv.weight", 1)])  # fmt: skip
    embed = vote([size(own, "quant_conv.weight"), size(own, "quant_conv.bias"), size(own, "post_quant_conv.weight", 1),
                  size(shapes, "quantize.embedding.weight", 1)])  # fmt: skip
    return z, embed


def codes(shapes: Shapes, name: str) -> int:
    """Many more than channels; a usual number if the codebook is lost or absurd, which strict loading then says."""
    found, *_ = (*shapes.get(name, ()), 0)
    return found if 0 < found <= MOST_CODES else CODES


class Codebook(nn.Module):
    """z (B, C, h, w) -> at every pixel the nearest of the codes. They keep fp32, whatever the network runs in."""

    def __init__(self, codes: int, channels: int):
        super().__init__()
        self.embedding = nn.Module()
        self.embedding.register_buffer("weight", torch.zeros(codes, channels))

    def codes(self) -> Tensor:
        return self.embedding.get_buffer("weight")

    def forward(self, z: Tensor) -> Tensor:
        codes = self.codes()
        pixels = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        parts = pixels.split(max(1, DISTANCES // len(codes)))
        nearest = torch.cat([torch.cdist(part, codes).argmin(1) for part in parts])
        return F.embedding(nearest, codes).view(len(z), *z.shape[2:], -1).permute(0, 3, 1, 2)


class Quantised(Network):
    """An encoder, a codebook between two convolutions, a decoder: z lies before the codebook."""

    gaussian = False
    encoder: nn.Module
    quant_conv: nn.Module
    quantize: Codebook
    post_quant_conv: nn.Module
    decoder: nn.Module

    def encode_ops(self) -> Ops:
        return chain(self.encoder, self.quant_conv)

    def from_latent_ops(self) -> Ops:
        return (self.quantize,)

    def decode_ops(self) -> Ops:
        return chain(self.post_quant_conv, self.decoder)


class VQAutoencoder(Quantised):
    def __init__(self, c: VQConfig):
        super().__init__()
        last = len(c.decoder.widths) - 1

        def norm_at(level: int) -> Norm:
            return partial(SpatialNorm, z_channels=c.embed_dim, doublings=last - level)

        self.encoder = Encoder(c.encoder, c.in_channels, c.z_channels)
        self.quant_conv = Conv2d(c.z_channels, c.embed_dim, 1)
        self.quantize = Codebook(c.codes, c.embed_dim)
        self.post_quant_conv = Conv2d(c.embed_dim, c.z_channels, 1)
        self.decoder = Decoder(c.decoder, c.z_channels, c.out_channels, norm_at if c.spatial else None)
        self.spatial = c.spatial

    def from_latent_ops(self) -> Ops:
        return () if self.spatial else super().from_latent_ops()


_AMUSED = (128, 256, 256, 512, 768)

FAMILY = Family(
    name="vq",
    title="VQ autoencoder (2-D)",
    detect=detect,
    build=VQAutoencoder,
    example=VQConfig(
        z_channels=64,
        embed_dim=64,
        codes=CODES,
        encoder=Coder(_AMUSED, (2,) * 5, (False,) * 5, mid_attention=False, stem=128),
        decoder=Coder(_AMUSED, (3,) * 5, (False,) * 5, mid_attention=False),
    ),
    layouts=(ldm.LDM, diffusers.TURNED, diffusers.TURNED_OLDER),
    grouped=True,
    config_json=ConfigJson(("VQModel",), kl.read_config_json),
    members=(
        Member("Kandinsky 2.x (MoVQ)", 4, 8),
        Member("aMUSEd", 64, 16),
    ),
)
