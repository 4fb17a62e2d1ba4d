"""Autoencoder-KL of latent diffusion, whatever its sizes.

SD 1/2/XL, PixArt, SD x4 upscaler (4 channels), SD 3, FLUX.1, Lumina 2, CogView4, Ostris (16), FLUX.2 and its
small decoder (32, patchified to 128). Rombach et al. 2021 (https://arxiv.org/abs/2112.10752); the parameters bear
the names of CompVis/latent-diffusion. Reference for the batch norm: black-forest-labs/flux2
src/flux2/autoencoder.py.
"""

# SD 1's. Blocks of a level in brackets, levels in the order they run:
#   encoder   conv_in 3->128 | down 128 256 512 512 (2 each, halved between) | mid | out 512->8 | quant_conv 8->8
#   decoder   post_quant_conv 4->4 | conv_in 4->512 | mid | up 512 512 256 128 (3 each, doubled between) | out 128->3

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from ..ops import Conv2d, Ops, chain
from .blocks.base import ConfigJson, Family, Halves, Member, Network, Rounding
from .blocks.ldm import GROUPS, Coder, Decoder, Encoder, halved, is_2d, keeps_channels, makes_moments, read_coder
from .blocks.ldm import Resample as Resample
from .blocks.ldm import ResnetBlock as ResnetBlock
from .names import diffusers, ldm
from .shapes import Shapes, has_unread_half, size, tops_of, vote


@dataclass(frozen=True)
class KLConfig(Halves):
    z_channels: int  # what the decoder's conv_in reads
    embed_dim: int  # what is left of it between the quant convs: the channels of z
    encoder: Coder | None
    decoder: Coder | None
    in_channels: int
    out_channels: int
    quant_conv: bool
    post_quant_conv: bool
    patch: int | None = None  # FLUX.2: z is patchified and normalised by running statistics

    @property
    def latent_channels(self) -> int:
        return self.embed_dim * (self.patch or 1) ** 2

    @property
    def spatial_ratio(self) -> int:
        return super().spatial_ratio * (self.patch or 1)


def detect(shapes: Shapes, norm_groups: int = GROUPS) -> KLConfig | None:
    if not is_2d(shapes) or not keeps_channels(shapes) or not makes_moments(shapes):
        return None
    encoder, decoder = (read_coder(shapes, half, norm_groups) for half in ("encoder", "decoder"))
    z = vote([size(shapes, "decoder.conv_in.weight", 1), size(shapes, "post_quant_conv.weight"),
              size(shapes, "post_quant_conv.bias"), *halved(shapes, "encoder.conv_out")])  # fmt: skip
    held = tops_of(shapes)
    if not z or has_unread_half(shapes, encoder, decoder) or not (encoder or decoder):
        return None
    quant, post = ("quant_conv" in held, "post_quant_conv" in held)
    embed = vote([*halved(shapes, "quant_conv"), size(shapes, "post_quant_conv.weight", 1)]) or z
    return KLConfig(
        z_channels=z,
        embed_dim=embed,
        encoder=encoder,
        decoder=decoder,
        in_channels=size(shapes, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(shapes, "decoder.conv_out.weight"), size(shapes, "decoder.conv_out.bias")]) or 3,
        quant_conv=quant,
        post_quant_conv=post,
        patch=_patch(shapes, embed),
    )


def _patch(shapes: Shapes, embed: int) -> int | None:
    statistics = vote([size(shapes, "bn.running_mean"), size(shapes, "bn.running_var")])
    return isqrt(statistics // embed) if statistics else None


class LatentNorm(nn.Module):
    """FLUX.2: the latent has mean 0 and variance 1 in every channel, by statistics kept in the file.

    A batch norm that only remembers. eps is 1e-4, not torch's 1e-5 (flux2 autoencoder.py, `bn_eps`).
    """

    eps = 1e-4
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def normalize(self, x: Tensor) -> Tensor:
        mean, std = self._statistics()
        return (x - mean) / std

    def denormalize(self, x: Tensor) -> Tensor:
        mean, std = self._statistics()
        return x * std + mean

    def _statistics(self) -> tuple[Tensor, Tensor]:
        mean, var = (t[:, None, None] for t in (self.running_mean, self.running_var))
        return mean, (var + self.eps).sqrt()


class AutoencoderKL(Network):
    def __init__(self, c: KLConfig):
        super().__init__()
        z, e = c.z_channels, c.embed_dim
        self.encoder = Encoder(c.encoder, c.in_channels, 2 * z) if c.encoder else None
        self.quant_conv = Conv2d(2 * z, 2 * e, 1) if c.quant_conv else None
        self.post_quant_conv = Conv2d(e, z, 1) if c.post_quant_conv else None
        self.decoder = Decoder(c.decoder, z, c.out_channels) if c.decoder else None
        self.bn = LatentNorm(c.latent_channels) if c.patch else None
        self.patch = c.patch

    def encode_ops(self) -> Ops:
        return chain(self.encoder, self.quant_conv)

    def to_latent_ops(self) -> Ops:
        # pixel_unshuffle orders channels (channel, row, column), as FLUX.2 does.
        return (nn.PixelUnshuffle(self.patch), self.bn.normalize) if self.bn and self.patch else ()

    def from_latent_ops(self) -> Ops:
        return (self.bn.denormalize, nn.PixelShuffle(self.patch)) if self.bn and self.patch else ()

    def decode_ops(self) -> Ops:
        return chain(self.post_quant_conv, self.decoder)


def is_published(c: KLConfig) -> bool:
    """Every Autoencoder-KL that a diffusion model was trained on is wider than this at its lowest resolution."""
    return any(coder is not None and max(coder.widths) >= 256 for coder in (c.encoder, c.decoder))


_SD = ((128, 256, 512, 512), (False,) * 4)


def read_config_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"act_fn": "silu"}


FAMILY = Family(
    name="kl",
    title="Autoencoder-KL (2-D)",
    detect=detect,
    build=AutoencoderKL,
    example=KLConfig(
        z_channels=4,
        embed_dim=4,
        encoder=Coder(_SD[0], (2,) * 4, _SD[1], stem=128),
        decoder=Coder(_SD[0], (3,) * 4, _SD[1]),
        in_channels=3,
        out_channels=3,
        quant_conv=True,
        post_quant_conv=True,
    ),
    layouts=(ldm.LDM, diffusers.TURNED, diffusers.TURNED_OLDER, *ldm.HALVES, *diffusers.TURNED_HALVES),
    published=is_published,
    grouped=True,
    config_json=ConfigJson(("AutoencoderKL",), read_config_json),
    members=(
        Member("SD 1.x, SD 2.x, PixArt-alpha, SDXL, PixArt-Sigma, AuraFlow, Kolors", 4, 8),
        Member("SD x4 upscaler", 4, 4),
        Member("SD 3.x", 16, 8),
        Member("FLUX.1, Lumina 2, Z-Image, Chroma", 16, 8),
        Member("FLUX.2", 128, 16),
    ),
    rounding=Rounding(
        overflows="SDXL's (madebyollin/sdxl-vae-fp16-fix); black images of FLUX.1 and SD 3 on MPS (InvokeAI #7208)",
        fits_fp16=True,
    ),
)
