"""Autoencoder-KL of latent diffusion, whatever its sizes.

SD 1/2/XL, PixArt, SD x4 upscaler (4 channels), SD 3, FLUX.1, Lumina 2, CogView4, Ostris (16), FLUX.2 and its
small decoder (32, patchified to 128). Rombach et al. 2021 (https://arxiv.org/abs/2112.10752); reference:
CompVis/latent-diffusion ldm/modules/diffusionmodules/model.py, whose names the parameters bear, and
black-forest-labs/flux2 src/flux2/autoencoder.py for the batch norm.

The one surprise: `up.0` is the highest resolution and runs last.
"""

import re
from dataclasses import dataclass, replace
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops import Conv2d, Global, Ops, Residual, Upsample2x, chain, silu
from .base import Family, Network, Shapes, count, size, vote

GROUPS = 32


@dataclass(frozen=True)
class Coder:
    """One half. Levels are counted from the highest resolution."""

    widths: tuple[int, ...]  # channels of each level
    num_res_blocks: tuple[int, ...]  # residual blocks of each level
    attention: tuple[bool, ...]  # does attention follow each block of the level?
    mid_attention: bool = True
    stem: int | None = None  # channels after the encoder's first convolution


@dataclass(frozen=True)
class KLConfig:
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
    def parts(self) -> tuple[str, ...]:
        return tuple(p for p in ("encoder", "decoder") if getattr(self, p))

    @property
    def latent_channels(self) -> int:
        return self.embed_dim * (self.patch or 1) ** 2

    @property
    def spatial_ratio(self) -> int:
        coder = self.encoder or self.decoder
        return 2 ** (len(coder.widths) - 1) * (self.patch or 1) if coder else 1

    @property
    def temporal_ratio(self) -> None:
        return None


# Names that other networks have and no Autoencoder-KL has: VQ codebooks (MoVQ, aMUSEd), mask-conditioned decoders,
# a U-Net for decoder, temporal layers (SVD, Allegro), convolutions wrapped for causality (HunyuanVideo), norms
# conditioned on z (MoVQ, KVAE) and RMS norms (Wan, Hunyuan).
FOREIGN = re.compile(
    r"^(?:quantize|decoder\.encoder|decoder\.condition_encoder|decoder_unet)\.|mix_factor|time_stack|time_conv|temp_conv"
    r"|temporal|\.conv\d?\.conv\.|conv_in\.conv\.|\.norm_layer\.|\.gamma$"
)

RESAMPLING = re.compile(r"(?:decoder\.up|encoder\.down)\.\d+\.(?:up|down)sample\.conv\.weight$")


def detect(shapes: Shapes) -> KLConfig | None:
    if any(map(FOREIGN.search, shapes)) or not _looks_2d(shapes):
        return None
    encoder, decoder = _encoder(shapes), _coder(shapes, "decoder", "up")
    z = vote([size(shapes, "decoder.conv_in.weight", 1), size(shapes, "post_quant_conv.weight"),
              size(shapes, "post_quant_conv.bias"), *_halved(shapes, "encoder.conv_out")])  # fmt: skip
    held = {name.partition(".")[0] for name in shapes}
    unread = ("encoder" in held and not encoder) or ("decoder" in held and not decoder)
    if not z or unread or not (encoder or decoder):
        return None
    quant, post = ("quant_conv.weight" in shapes, "post_quant_conv.weight" in shapes)
    embed = vote([*_halved(shapes, "quant_conv"), size(shapes, "post_quant_conv.weight", 1)]) or z
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


def _looks_2d(shapes: Shapes) -> bool:
    """Convolutions of pictures, and resampling that keeps its channels (HunyuanImage's makes four times as many)."""
    for half, level in (("encoder", "down.0"), ("decoder", "up.0")):
        if any(name.startswith(f"{half}.") for name in shapes) and not count(shapes, f"{half}.{level}.block."):
            return False
    convs = [len(shape) for name, shape in shapes.items() if name.endswith((".conv1.weight", ".conv2.weight"))]
    if convs.count(4) * 2 < len(convs):
        return False
    resampling = [shape for name, shape in shapes.items() if RESAMPLING.match(name)]
    return sum(len(shape) == 4 and shape[0] == shape[1] for shape in resampling) * 2 >= len(resampling)


def _halved(shapes: Shapes, conv: str) -> list[int | None]:
    """Half the output channels of a convolution that makes moments: mean and logvar."""
    sizes = (size(shapes, f"{conv}.weight"), size(shapes, f"{conv}.bias"))
    return [n // 2 if n and n % 2 == 0 else None for n in sizes]


def _encoder(shapes: Shapes) -> Coder | None:
    coder = _coder(shapes, "encoder", "down")
    if coder is None:
        return None
    stem = vote([size(shapes, "encoder.conv_in.weight"), size(shapes, "encoder.conv_in.bias"),
                 size(shapes, "encoder.down.0.block.0.norm1.weight")])  # fmt: skip
    return replace(coder, stem=stem) if stem and stem % GROUPS == 0 else None


def _coder(shapes: Shapes, half: str, side: str) -> Coder | None:
    levels = [f"{half}.{side}.{i}" for i in range(count(shapes, f"{half}.{side}."))]
    widths = [_width(shapes, level) for level in levels]
    if not levels or any(not w or w % GROUPS for w in widths):
        return None
    return Coder(
        widths=tuple(w for w in widths if w),
        num_res_blocks=tuple(count(shapes, f"{level}.block.") for level in levels),
        attention=tuple(count(shapes, f"{level}.attn.") > 0 for level in levels),
        mid_attention=any(name.startswith(f"{half}.mid.attn_1.") for name in shapes),
    )


def _width(shapes: Shapes, level: str) -> int | None:
    tensors = ("conv1.weight", "conv1.bias", "norm2.weight", "norm2.bias", "conv2.weight", "conv2.bias")
    return vote(size(shapes, f"{level}.block.{i}.{t}") for i in range(2) for t in tensors)


def _patch(shapes: Shapes, embed: int) -> int | None:
    statistics = vote([size(shapes, "bn.running_mean"), size(shapes, "bn.running_var")])
    return isqrt(statistics // embed) if statistics else None


def norm(c: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, c, eps=1e-6)


class ResnetBlock(nn.Module):
    """(B, c_in, H, W) -> (B, c_out, H, W)"""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.norm1, self.conv1 = norm(c_in), Conv2d(c_in, c_out)
        self.norm2, self.conv2 = norm(c_out), Conv2d(c_out, c_out)
        self.nin_shortcut = Conv2d(c_in, c_out, 1) if c_in != c_out else None

    def ops(self) -> Ops:
        body = (self.norm1, silu, self.conv1, self.norm2, silu, self.conv2)
        return (Residual(body, chain(self.nin_shortcut)),)


class AttnBlock(Global):
    """Single-head self-attention over all pixels. (B, C, H, W) -> same"""

    def __init__(self, c: int):
        super().__init__()
        self.norm = norm(c)
        self.q, self.k, self.v, self.proj_out = (Conv2d(c, c, 1) for _ in range(4))

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return tokens(self.k(x)), tokens(self.v(x))

    def recall(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        k, v = memory
        y = F.scaled_dot_product_attention(tokens(self.q(x)), k, v)
        return self.proj_out(y[:, 0].transpose(1, 2).reshape(x.shape))

    def ops(self) -> Ops:
        return (Residual((self.norm, self)),)


def tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H * W, C)"""
    return x.flatten(2).transpose(1, 2)[:, None]


class Middle(nn.Module):
    def __init__(self, c: int, attention: bool):
        super().__init__()
        self.block_1 = ResnetBlock(c, c)
        self.attn_1 = AttnBlock(c) if attention else None
        self.block_2 = ResnetBlock(c, c)

    def ops(self) -> Ops:
        return chain(self.block_1, self.attn_1, self.block_2)


class Resample(nn.Module):
    """Checkpoints call the convolution `downsample.conv` or `upsample.conv`; before the latter, pixels are doubled."""

    def __init__(self, c: int, up: bool):
        super().__init__()
        self.up = up
        self.conv = Conv2d(c, c) if up else Conv2d(c, c, stride=2, pad=(0, 1))

    def ops(self) -> Ops:
        return chain(Upsample2x() if self.up else None, self.conv)


class Level(nn.Module):
    """One resolution: residual blocks, each perhaps with attention, then perhaps a change of resolution."""

    def __init__(self, c_in: int, c: int, blocks: int, attention: bool, resample: str | None):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c_in if i == 0 else c, c) for i in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(c) for _ in range(blocks if attention else 0))
        self.downsample = Resample(c, up=False) if resample == "down" else None
        self.upsample = Resample(c, up=True) if resample == "up" else None

    def ops(self) -> Ops:
        attention = self.attn if len(self.attn) else [None] * len(self.block)
        pairs = (op for both in zip(self.block, attention, strict=True) for op in both)
        return chain(*pairs, self.downsample, self.upsample)


class Encoder(nn.Module):
    """pixels (B, 3, H, W) in [-1, 1] -> moments (B, 2 * z_channels, h, w)"""

    def __init__(self, c: Coder, in_channels: int, z_channels: int):
        super().__init__()
        stem, top, last = c.stem or c.widths[0], c.widths[-1], len(c.widths) - 1
        self.conv_in = Conv2d(in_channels, stem)
        self.down = nn.ModuleList(
            Level(c_in, width, blocks, attention, "down" if i < last else None)
            for i, (c_in, width, blocks, attention) in enumerate(
                zip((stem, *c.widths[:-1]), c.widths, c.num_res_blocks, c.attention, strict=True)
            )
        )
        self.mid = Middle(top, c.mid_attention)
        self.norm_out, self.conv_out = norm(top), Conv2d(top, 2 * z_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.down, self.mid, self.norm_out, silu, self.conv_out)


class Decoder(nn.Module):
    """z (B, z_channels, h, w) -> pixels (B, 3, H, W) in [-1, 1]"""

    def __init__(self, c: Coder, z_channels: int, out_channels: int):
        super().__init__()
        top = c.widths[-1]
        self.conv_in = Conv2d(z_channels, top)
        self.mid = Middle(top, c.mid_attention)
        self.up = nn.ModuleList(
            Level(c_in, width, blocks, attention, "up" if i else None)
            for i, (c_in, width, blocks, attention) in enumerate(
                zip((*c.widths[1:], top), c.widths, c.num_res_blocks, c.attention, strict=True)
            )
        )
        self.norm_out, self.conv_out = norm(c.widths[0]), Conv2d(c.widths[0], out_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, self.mid, *reversed(self.up), self.norm_out, silu, self.conv_out)


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
        self.encoder = Encoder(c.encoder, c.in_channels, z) if c.encoder else None
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
    published=is_published,
)
