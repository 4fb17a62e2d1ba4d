"""The autoencoder of HunyuanImage 2.1: 64 channels at 1/32, for images alone.

Reference: diffusers' AutoencoderKLHunyuanImage; the parameters bear the names of Tencent's own file. Its resampling is
that of DC-AE (Chen et al. 2024, https://arxiv.org/abs/2410.10733): pixels are traded for channels, beside a shortcut
without parameters.

Two surprises. Unlike in other LDM names, `up.0` is the lowest resolution and runs first. And four pixels become
channels in the order (row, column, channel); torch's order gives an image of the right size, and wrong.
"""

# HunyuanImage 2.1's. Blocks of a level in brackets, pixels traded for channels between levels:
#   encoder   conv_in 3->128 | down 128 256 512 512 1024 1024 (2 each) | mid | out 1024->128
#   decoder   conv_in 64->1024 | mid | up 1024 1024 512 512 256 128 (3 each) | out 128->3

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from ..ops import Conv2d, MeanChannels, Ops, PixelShuffle, PixelUnshuffle, RepeatChannels, Residual, chain, silu
from .blocks.base import Family, Halves, Member, Network
from .blocks.ldm import Coder, Middle, ResnetBlock, halved, is_2d, keeps_channels, norm, read_coder
from .names import diffusers, ldm
from .shapes import Shapes, has_unread_half, size, vote


@dataclass(frozen=True)
class HunyuanImageConfig(Halves):
    """Levels of both halves in the order they run."""

    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    in_channels: int = 3
    out_channels: int = 3


def detect(shapes: Shapes) -> HunyuanImageConfig | None:
    if not is_2d(shapes) or keeps_channels(shapes):
        return None
    encoder, decoder = read_coder(shapes, "encoder"), read_coder(shapes, "decoder")
    z = vote([size(shapes, "decoder.conv_in.weight", 1), *halved(shapes, "encoder.conv_out")])
    if (
        not z
        or has_unread_half(shapes, encoder, decoder)
        or not (_divides(encoder, 2 * z, -1) and _divides(decoder, z, 0))
    ):
        return None
    return HunyuanImageConfig(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        in_channels=size(shapes, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(shapes, "decoder.conv_out.weight"), size(shapes, "decoder.conv_out.bias")]) or 3,
    )


def _divides(coder: Coder | None, channels: int, end: int) -> bool:
    """Do the shortcuts' channels come out even, at the end where z is and between levels?"""
    if coder is None:
        return True
    inwards = coder.widths if end else coder.widths[::-1]  # both halves, as from pixels to z
    between = all(4 * a % b == 0 for a, b in pairwise(inwards))
    return between and coder.widths[end] % channels == 0


class Downsample(nn.Module):
    """(B, c_in, 2H, 2W) -> (B, c_out, H, W)"""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv = Conv2d(c_in, c_out // 4)
        self.shortcut = MeanChannels(4 * c_in // c_out)

    def ops(self) -> Ops:
        unshuffle = PixelUnshuffle(order="yxc")
        return (Residual((self.conv, unshuffle), (unshuffle, self.shortcut)),)


class Upsample(nn.Module):
    """(B, c_in, H, W) -> (B, c_out, 2H, 2W)"""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv = Conv2d(c_in, 4 * c_out)
        self.shortcut = RepeatChannels(4 * c_out // c_in)

    def ops(self) -> Ops:
        shuffle = PixelShuffle(order="yxc")
        return (Residual((self.conv, shuffle), (self.shortcut, shuffle)),)


class Level(nn.Module):
    """One resolution: residual blocks of as many channels, then a change of resolution and of channels."""

    def __init__(self, c: int, blocks: int, c_next: int | None, up: bool):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c, c) for _ in range(blocks))
        self.downsample = Downsample(c, c_next) if c_next and not up else None
        self.upsample = Upsample(c, c_next) if c_next and up else None

    def ops(self) -> Ops:
        return chain(*self.block, self.downsample, self.upsample)


def levels(c: Coder, up: bool) -> nn.ModuleList:
    following = (*c.widths[1:], None)
    return nn.ModuleList(
        Level(width, blocks, after, up)
        for width, blocks, after in zip(c.widths, c.num_res_blocks, following, strict=True)
    )


class Encoder(nn.Module):
    """pixels (B, 3, H, W) in [-1, 1] -> moments (B, 2 * z_channels, h, w)"""

    def __init__(self, c: Coder, in_channels: int, z_channels: int):
        super().__init__()
        top = c.widths[-1]
        self.conv_in = Conv2d(in_channels, c.widths[0])
        self.down = levels(c, up=False)
        self.mid = Middle(top, c.mid_attention)
        self.norm_out, self.conv_out = norm(top), Conv2d(top, 2 * z_channels)
        self.shortcut = MeanChannels(top // (2 * z_channels))

    def ops(self) -> Ops:
        out = Residual((self.norm_out, silu, self.conv_out), (self.shortcut,))
        return chain(self.conv_in, *self.down, self.mid, out)


class Decoder(nn.Module):
    """z (B, z_channels, h, w) -> pixels (B, 3, H, W) in [-1, 1]"""

    def __init__(self, c: Coder, z_channels: int, out_channels: int):
        super().__init__()
        top = c.widths[0]
        self.conv_in = Conv2d(z_channels, top)
        self.shortcut = RepeatChannels(top // z_channels)
        self.mid = Middle(top, c.mid_attention)
        self.up = levels(c, up=True)
        self.norm_out, self.conv_out = norm(c.widths[-1]), Conv2d(c.widths[-1], out_channels)

    def ops(self) -> Ops:
        start = Residual((self.conv_in,), (self.shortcut,))
        return chain(start, self.mid, *self.up, self.norm_out, silu, self.conv_out)


class HunyuanImageVAE(Network):
    def __init__(self, c: HunyuanImageConfig):
        super().__init__()
        self.encoder = Encoder(c.encoder, c.in_channels, c.z_channels) if c.encoder else None
        self.decoder = Decoder(c.decoder, c.z_channels, c.out_channels) if c.decoder else None

    def encode_ops(self) -> Ops:
        return chain(self.encoder)

    def decode_ops(self) -> Ops:
        return chain(self.decoder)


_WIDTHS = (128, 256, 512, 512, 1024, 1024)

FAMILY = Family(
    name="hunyuan_image",
    title="HunyuanImage autoencoder (2-D)",
    detect=detect,
    build=HunyuanImageVAE,
    example=HunyuanImageConfig(
        z_channels=64,
        encoder=Coder(_WIDTHS, (2,) * 6, (False,) * 6, stem=128),
        decoder=Coder(_WIDTHS[::-1], (3,) * 6, (False,) * 6),
    ),
    layouts=(ldm.LDM, diffusers.ROW, *ldm.HALVES),
    members=(Member("HunyuanImage 2.1", 64, 32),),
)
