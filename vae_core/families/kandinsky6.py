"""Kandinsky 6's autoencoder for super-resolution of clips: 64 channels at 1/16, and one latent frame for four.

Kandinsky Lab 2026; reference: diffusers' Kandinsky6SRVAE (Apache-2.0), which has kept the names of its authors
(https://github.com/kandinskylab/kvae, MIT: KVAE 2.0). It is KVAE 3-D with norms of single pixels, so a clip may be run
in any parts: diffusers' segments give the same. Before the first frame is that frame again, beyond the borders of an
image are zeros. Encoding, a change of resolution doubles the channels.

The surprise: its pixels are n / 128 - 1 for a byte n, where others have n / 127.5 - 1. diffusers' pipeline converts
them, before the VAE and after it; here it is a part of the network.
"""

# Blocks of a level in brackets; / halves, * doubles, t: in time too:
#   encoder   conv_in 3->16 | down 16(2) / 128(2) /t 256(2) /t 512(2) / 1024(2) | mid | out 1024->128
#   decoder   conv_in 64->2048 | mid | up 2048(3) * 1024(3) *t 512(3) *t 256(3) * 16(3) | out 16->3

from dataclasses import dataclass

from torch import nn

from ..ops import Affine, Conv3d, MeanChannels, MeanFrames, Ops, PixelUnshuffle, Residual, chain
from .blocks.base import ClipLaw, Family, Halves, Member, Network
from .blocks.kvae import Coder, Decoder, Encoder, is_kvae_of_clips, read_in_time
from .blocks.ldm import halved, read_coder, without_spatial_norms
from .blocks.ldm_3d import Causal, Kit, unwrapped
from .blocks.wan import RMSNorm
from .names.layout import DIFFUSERS, ORIGINAL, Layout, keep_names
from .shapes import Shapes, has_unread_half, size, vote

BORDER = "constant"  # zeros
RANGE = 127.5 / 128  # of its pixels to those in [-1, 1], both counted from black (Kandinsky6SRPipeline.encode_video)


@dataclass(frozen=True)
class Kandinsky6Config(Halves):
    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    in_channels: int = 3
    out_channels: int = 3

    @property
    def temporal_ratio(self) -> int:
        half = self.encoder or self.decoder
        assert half
        return 2 ** sum(half.in_time)


def detect(shapes: Shapes) -> Kandinsky6Config | None:
    if not is_kandinsky6(shapes):
        return None
    own, looks_at_z = without_spatial_norms(unwrapped(shapes))
    encoder, decoder = _read(own, "encoder"), _read(own, "decoder")
    z = vote([size(own, "decoder.conv_in.weight", 1), *halved(own, "encoder.conv_out")])
    if not z or has_unread_half(shapes, encoder, decoder and looks_at_z) or not (encoder or decoder):
        return None
    return Kandinsky6Config(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        in_channels=size(own, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(own, "decoder.conv_out.weight"), size(own, "decoder.conv_out.bias")]) or 3,
    )


def is_kandinsky6(shapes: Shapes) -> bool:
    """Wrapped convolutions over frames, RMS norms, and changes of resolution in two parts?"""
    return is_kvae_of_clips(shapes) and any(name.endswith(".gamma") for name in shapes)


def _read(own: Shapes, half: str) -> Coder | None:
    """One half. KVAE 2.0 at 1/8 has the same names but other borders; it changes the number of frames first."""
    found = read_coder(own, half, groups=1)
    if not found:
        return None
    in_time = read_in_time(own, half, len(found.widths))
    ends_in_time = (in_time[:1] if half == "encoder" else in_time[-1:]) == (True,)
    return None if ends_in_time else Coder(found.widths, found.num_res_blocks, in_time)


def conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Module:
    return Causal(c_in, c_out, border=BORDER) if kernel > 1 else Conv3d(c_in, c_out, 1)


KIT = Kit(conv, RMSNorm, causal=True)


class Downsample(nn.Module):
    """Half the rows and columns, twice the channels, and perhaps of 2 T - 1 frames T: convolutions beside means."""

    def __init__(self, c: int, in_time: bool):
        super().__init__()
        wide = 2 * c
        self.spatial_conv = Conv3d(c, wide, (1, 3, 3), stride=(1, 2, 2))
        both = (Causal(wide, wide, (2, 1, 1), (step, 1, 1)) for step in (1, 2))
        self.temporal_conv = nn.ModuleList(both) if in_time else None
        self.linear = Conv3d(wide, wide, 1)

    def ops(self) -> Ops:
        space = Residual((self.spatial_conv,), (PixelUnshuffle(), MeanChannels(2)))
        time = Residual(chain(*self.temporal_conv), (MeanFrames(),)) if self.temporal_conv else None
        return chain(space, time, self.linear)


class Kandinsky6VAE(Network):
    def __init__(self, c: Kandinsky6Config):
        super().__init__()
        z = c.z_channels
        self.encoder = self._encoder(c.encoder, c.in_channels, z) if c.encoder else None
        self.decoder = Decoder(c.decoder, KIT, BORDER, z, c.out_channels) if c.decoder else None
        self.clip_law = ClipLaw(1, c.temporal_ratio)

    def _encoder(self, c: Coder, in_channels: int, z: int) -> Encoder:
        reads = (c.widths[0], *(2 * width for width in c.widths[:-1]))
        return Encoder(c, reads, Downsample, KIT, in_channels, z)

    def encode_ops(self) -> Ops:
        return chain(Affine(RANGE, RANGE - 1), self.encoder)

    def decode_ops(self) -> Ops:
        return chain(self.decoder, Affine(1 / RANGE, 1 / RANGE - 1))


FAMILY = Family(
    name="kandinsky6",
    title="Kandinsky 6's KVAE 3-D",
    detect=detect,
    build=Kandinsky6VAE,
    example=Kandinsky6Config(
        z_channels=64,
        encoder=Coder((16, 128, 256, 512, 1024), (2,) * 5, (False, True, True, False)),
        decoder=Coder((16, 256, 512, 1024, 2048), (3,) * 5, (False, True, True, False)),
    ),
    # diffusers has kept the authors' names: a file is of both layouts.
    layouts=tuple(Layout(name, is_kandinsky6, write=keep_names) for name in (DIFFUSERS, ORIGINAL)),
    members=(Member("Kandinsky 6 super-resolution", 64, 16, 4),),
)
