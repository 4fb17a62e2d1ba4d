"""EasyAnimate's autoencoder of clips: 16 channels at 1/8, and one latent frame for four.

Xu et al. 2024 (https://arxiv.org/abs/2405.18991); reference: diffusers' AutoencoderKLMagvit, whose parameters' names
are those of aigc-apps/EasyAnimate too. It is an autoencoder of latent diffusion without attention, with convolutions
over frames. Norms see single frames, so a clip is run a few frames at a time. Before the first frame is that frame
again, beyond the borders of an image are zeros.

Two surprises. Frames are doubled after the convolution that follows the doubling of pixels, not before it. And the
first change of resolution of each half, the encoder's highest and the decoder's lowest, leaves the frames alone.
"""

# EasyAnimate V5's. Blocks of a level in brackets; / halves, * doubles, t: in time too:
#   encoder   conv_in 3->128 | down_blocks 128(2) / 256(2) /t 512(2) /t 512(2) | mid (2) | out 512->32 | quant_conv
#   decoder   post_quant_conv | conv_in 16->512 | mid (2) | up_blocks 512(3) * 512(3) *t 256(3) *t 128(3) | out 128->3

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from ..ops import Conv3d, Ops, RepeatFrames, Residual, Upsample2x, chain, silu
from .blocks.base import ClipLaw, ConfigJson, Family, Halves, Member, Network
from .blocks.ldm import GROUPS, Coder, halved, norm, read_coder
from .names import easyanimate as names
from .shapes import Shapes, has_unread_half, size, vote


@dataclass(frozen=True)
class EasyAnimateConfig(Halves):
    """Levels of both halves are counted from the highest resolution."""

    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    in_channels: int = 3
    out_channels: int = 3

    @property
    def temporal_ratio(self) -> int:
        coder = self.encoder or self.decoder
        assert coder
        return 2 ** max(0, len(coder.widths) - 2)


def detect(shapes: Shapes) -> EasyAnimateConfig | None:
    if not any(".convs.0.norm1." in name for name in shapes) or any(".attentions." in name for name in shapes):
        return None
    own = names.as_ldm(shapes)
    encoder, decoder = read_coder(own, "encoder"), read_coder(own, "decoder")
    z = vote([size(shapes, "decoder.conv_in.weight", 1), size(shapes, "post_quant_conv.weight"),
              size(shapes, "post_quant_conv.bias"), *halved(shapes, "encoder.conv_out")])  # fmt: skip
    if not z or has_unread_half(shapes, encoder, decoder) or not (encoder or decoder):
        return None
    return EasyAnimateConfig(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        in_channels=size(shapes, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(shapes, "decoder.conv_out.weight"), size(shapes, "decoder.conv_out.bias")]) or 3,
    )


causal = partial(Conv3d, repeats=True, border="constant")


class ResidualBlock(nn.Module):
    """(T, c_in, H, W) -> (T, c, H, W)"""

    def __init__(self, c_in: int, c: int):
        super().__init__()
        self.norm1, self.conv1 = norm(c_in), causal(c_in, c)
        self.norm2, self.conv2 = norm(c), causal(c, c)
        self.shortcut = Conv3d(c_in, c, 1) if c_in != c else None

    def ops(self) -> Ops:
        body = chain(self.norm1, silu, self.conv1, self.norm2, silu, self.conv2)
        return (Residual(body, chain(self.shortcut)),)


class Change(nn.Module):
    """Of the resolution, and perhaps of the number of frames: (T, C, H, W) -> (T', C, H / 2, W / 2) or twice as much"""

    def __init__(self, c: int, larger: bool, in_time: bool):
        super().__init__()
        self.conv = causal(c, c) if larger else causal(c, c, stride=(1 + in_time, 2, 2), pad=(0, 1))
        self.larger, self.in_time = larger, in_time

    def ops(self) -> Ops:
        if self.larger:
            return chain(Upsample2x(), self.conv, RepeatFrames() if self.in_time else None)
        return self.conv.ops()


class Level(nn.Module):
    """One resolution, or the middle: residual blocks, then perhaps a change of resolution."""

    def __init__(self, c_in: int, c: int, blocks: int, change: Change | None = None):
        super().__init__()
        self.convs = nn.ModuleList(ResidualBlock(c_in if i == 0 else c, c) for i in range(blocks))
        self.downsampler = change if change and not change.larger else None
        self.upsampler = change if change and change.larger else None

    def ops(self) -> Ops:
        return chain(*self.convs, self.downsampler, self.upsampler)


class Encoder(nn.Module):
    """pixels (T, 3, H, W) in [-1, 1] -> moments (T', 2 * z_channels, h, w)"""

    def __init__(self, c: Coder, in_channels: int, z_channels: int):
        super().__init__()
        stem, top = c.stem or c.widths[0], c.widths[-1]
        self.conv_in = causal(in_channels, stem)
        changes = (*(Change(width, False, i > 0) for i, width in enumerate(c.widths[:-1])), None)
        levels = zip((stem, *c.widths[:-1]), c.widths, c.num_res_blocks, changes, strict=True)
        self.down_blocks = nn.ModuleList(Level(*level) for level in levels)
        self.mid_block = Level(top, top, c.num_res_blocks[-1])
        self.conv_norm_out, self.conv_out = norm(top), causal(top, 2 * z_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.down_blocks, self.mid_block, self.conv_norm_out, silu, self.conv_out)


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> pixels (T', 3, H, W) in [-1, 1]. `up_blocks.0` is the lowest resolution."""

    def __init__(self, c: Coder, z_channels: int, out_channels: int):
        super().__init__()
        widths, blocks = c.widths[::-1], c.num_res_blocks[::-1]
        self.conv_in = causal(z_channels, widths[0])
        self.mid_block = Level(widths[0], widths[0], max(1, blocks[0] - 1))
        changes = (*(Change(width, True, i > 0) for i, width in enumerate(widths[:-1])), None)
        levels = zip((widths[0], *widths[:-1]), widths, blocks, changes, strict=True)
        self.up_blocks = nn.ModuleList(Level(*level) for level in levels)
        self.conv_norm_out, self.conv_out = norm(widths[-1]), causal(widths[-1], out_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, self.mid_block, *self.up_blocks, self.conv_norm_out, silu, self.conv_out)


class EasyAnimateVAE(Network):
    def __init__(self, c: EasyAnimateConfig):
        super().__init__()
        z = c.z_channels
        self.encoder = Encoder(c.encoder, c.in_channels, z) if c.encoder else None
        self.decoder = Decoder(c.decoder, z, c.out_channels) if c.decoder else None
        self.quant_conv = Conv3d(2 * z, 2 * z, 1) if c.encoder else None
        self.post_quant_conv = Conv3d(z, z, 1) if c.decoder else None
        self.clip_law = ClipLaw(1, c.temporal_ratio)

    def encode_ops(self) -> Ops:
        return chain(self.encoder, self.quant_conv)

    def decode_ops(self) -> Ops:
        return chain(self.post_quant_conv, self.decoder)


def read_config_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"norm_num_groups": GROUPS, "act_fn": "silu", "spatial_group_norm": True}


_WIDTHS, _LEVELS = (128, 256, 512, 512), 4

FAMILY = Family(
    name="easyanimate",
    title="EasyAnimate's autoencoder",
    detect=detect,
    build=EasyAnimateVAE,
    example=EasyAnimateConfig(
        z_channels=16,
        encoder=Coder(_WIDTHS, (2,) * _LEVELS, (False,) * _LEVELS, mid_attention=False, stem=128),
        decoder=Coder(_WIDTHS, (3,) * _LEVELS, (False,) * _LEVELS, mid_attention=False),
    ),
    layouts=(names.EASYANIMATE_DIFFUSERS, names.EASYANIMATE),
    config_json=ConfigJson(("AutoencoderKLMagvit",), read_config_json),
    members=(Member("EasyAnimate", 16, 8, 4),),
)
