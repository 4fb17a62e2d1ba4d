"""KVAE 2-D of Kandinsky Lab: an autoencoder of latent diffusion whose decoder's norms look at z, as MoVQ's do.

Reference: diffusers' AutoencoderKLKVAE; kandinskylab/kvae (MIT) has the same names.

Two surprises. What lies beyond the border of an image differs from convolution to convolution: zeros for the encoder's
first and last, the image mirrored where the resolution changes, the nearest pixel again everywhere else. And a change
of resolution is a sum, of a convolution and of the mean of 2 x 2 pixels or the pixel repeated.
"""

# KVAE 2-D 1.0. Blocks of a level in brackets:
#   encoder   conv_in 3->128 | down 128 256 512 1024 (2 each, halved between) | mid | out 1024->32
#   decoder   conv_in 16->1024 | mid | up 1024 512 256 128 (3 each, doubled between) | out 128->3

from dataclasses import dataclass
from functools import partial

from torch import nn

from ..ops import Conv2d, MeanChannels, Ops, PixelUnshuffle, Residual, Upsample2x, chain
from .blocks.base import Family, Halves, Member, Network
from .blocks.ldm import (
    Coder,
    Decoder,
    Encoder,
    Norm,
    ResnetBlock,
    SpatialNorm,
    halved,
    is_2d,
    makes_moments,
    read_coder,
    without_spatial_norms,
)
from .names import DIFFUSERS, Layout, keep_names, ldm
from .shapes import Shapes, has_unread_half, size, vote


@dataclass(frozen=True)
class KVAEConfig(Halves):
    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    in_channels: int = 3
    out_channels: int = 3


def detect(shapes: Shapes) -> KVAEConfig | None:
    own, spatial = without_spatial_norms(shapes)
    held = {name.partition(".")[0] for name in own}
    if not _has_sums(own) or ("decoder" in held and not spatial) or not makes_moments(own):
        return None
    own = {name.replace(".spatial_conv.", ".conv."): shape for name, shape in own.items()}
    encoder, decoder = read_coder(own, "encoder"), read_coder(own, "decoder")
    z = vote([size(own, "decoder.conv_in.weight", 1), size(shapes, "decoder.norm_out.conv_y.weight", 1),
              *halved(own, "encoder.conv_out")])  # fmt: skip
    if not is_2d(own) or not z or has_unread_half(own, encoder, decoder):
        return None
    return KVAEConfig(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        in_channels=size(own, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(own, "decoder.conv_out.weight"), size(own, "decoder.conv_out.bias")]) or 3,
    )


def _has_sums(shapes: Shapes) -> bool:
    """Is the resolution changed by a convolution and what is added to it, of images?"""
    convs = [len(shape) for name, shape in shapes.items() if name.endswith("sample.spatial_conv.weight")]
    return convs.count(4) * 2 > len(convs)


class Resample(nn.Module):
    """(B, C, H, W) -> (B, C, H / 2, W / 2), or (B, C, 2H, 2W) if `up`"""

    def __init__(self, c: int, up: bool):
        super().__init__()
        self.up = up
        self.spatial_conv = Conv2d(c, c, stride=1 if up else 2, pad=(1, 1), border="reflect")
        self.linear = Conv2d(c, c, 1)

    def ops(self) -> Ops:
        if self.up:
            return (Upsample2x(), Residual((self.spatial_conv,)), self.linear)
        return (Residual((self.spatial_conv,), (PixelUnshuffle(), MeanChannels(4))), self.linear)


class KVAE(Network):
    def __init__(self, c: KVAEConfig):
        super().__init__()
        last = len(c.decoder.widths) - 1 if c.decoder else 0

        def norm_at(level: int) -> Norm:
            return partial(SpatialNorm, z_channels=c.z_channels, doublings=last - level)

        self.encoder = Encoder(c.encoder, c.in_channels, 2 * c.z_channels, Resample) if c.encoder else None
        self.decoder = Decoder(c.decoder, c.z_channels, c.out_channels, norm_at, Resample) if c.decoder else None
        blocks = [block for block in self.modules() if isinstance(block, ResnetBlock)]
        ends = [self.decoder.conv_in, self.decoder.conv_out] if self.decoder else []
        for conv in (*ends, *(conv for block in blocks for conv in (block.conv1, block.conv2))):
            conv.border = "replicate"

    def encode_ops(self) -> Ops:
        return chain(self.encoder)

    def decode_ops(self) -> Ops:
        return chain(self.decoder)


_WIDTHS = (128, 256, 512, 1024)

FAMILY = Family(
    name="kvae",
    title="KVAE 2-D",
    detect=detect,
    build=KVAE,
    example=KVAEConfig(
        z_channels=16,
        encoder=Coder(_WIDTHS, (2,) * 4, (False,) * 4, mid_attention=False, stem=128),
        decoder=Coder(_WIDTHS, (3,) * 4, (False,) * 4, mid_attention=False),
    ),
    # diffusers has kept the authors' names: a file is of both layouts.
    layouts=(Layout(DIFFUSERS, ldm.LDM.marks, write=keep_names), ldm.LDM, *ldm.HALVES),
    members=(Member("KVAE 2-D", 16, 8),),
)
