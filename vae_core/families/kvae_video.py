"""KVAE 3-D, Kandinsky's autoencoder of clips: 16 channels at 1/8, and one latent frame for four.

Kandinsky Lab 2025 (https://github.com/kandinskylab/kvae-1, MIT); reference: diffusers' AutoencoderKLKVAEVideo, which
has kept the authors' names. It is latent diffusion's autoencoder without attention, with convolutions over frames and
the decoder's norms of MoVQ, which look at z. Changes of resolution add a convolution to means, or to repeated pixels.
Before the first frame is that frame again, beyond the borders of an image the nearest pixel; convolutions that change
the resolution mirror the image.

The surprise: the model is defined by the parts it is run in, the first frame and sixteen, then sixteen at a time; the
norms see all frames of a part together. Of a last part of a single latent frame diffusers makes one frame; here it
makes four, as all others do.
"""

# KVAE 3-D's. Blocks of a level in brackets; / halves, * doubles, t: in time too:
#   encoder   conv_in 3->128 | down 128(2) /t 256(2) /t 512(2) / 1024(2) | mid | out 1024->32
#   decoder   conv_in 16->1024 | mid | up 1024(3) *t 512(3) *t 256(3) * 128(3) | out 128->3

from dataclasses import dataclass

from torch import nn

from ..ops import Conv3d, GroupNormOverFrames, MeanChannels, MeanFrames, Ops, PixelUnshuffle, Residual, chain
from .blocks import kvae
from .blocks.base import ClipLaw, Family, Halves, Member, Network
from .blocks.kvae import is_kvae_of_clips, read_in_time
from .blocks.ldm import Coder, halved, read_coder, without_spatial_norms
from .blocks.ldm_3d import Causal, Kit, group_norm, unwrapped
from .names.layout import DIFFUSERS, ORIGINAL, Layout, keep_names
from .shapes import Shapes, has_unread_half, size, vote

PART = 16  # frames in a part (seg_len of diffusers' encoder)
BORDER = "reflect"  # of convolutions that change the resolution


@dataclass(frozen=True)
class KVAEVideoConfig(Halves):
    """in_time: of the changes of resolution of each half, from the highest: is the number of frames changed too?"""

    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    encoder_in_time: tuple[bool, ...] = (True, True, False)
    decoder_in_time: tuple[bool, ...] = (False, True, True)
    in_channels: int = 3
    out_channels: int = 3

    @property
    def temporal_ratio(self) -> int:
        return 2 ** sum(self.encoder_in_time if self.encoder else self.decoder_in_time)


def detect(shapes: Shapes) -> KVAEVideoConfig | None:
    if not is_kvae(shapes):
        return None
    own, looks_at_z = without_spatial_norms(unwrapped(shapes))
    encoder, decoder = read_coder(own, "encoder"), read_coder(own, "decoder")
    z = vote([size(own, "decoder.conv_in.weight", 1), *halved(own, "encoder.conv_out")])
    if not z or has_unread_half(shapes, encoder, decoder and looks_at_z) or not (encoder or decoder):
        return None
    return KVAEVideoConfig(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        encoder_in_time=read_in_time(shapes, "encoder", len(encoder.widths)) if encoder else (),
        decoder_in_time=read_in_time(shapes, "decoder", len(decoder.widths)) if decoder else (),
        in_channels=size(own, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(own, "decoder.conv_out.weight"), size(own, "decoder.conv_out.bias")]) or 3,
    )


def is_kvae(shapes: Shapes) -> bool:
    """Wrapped convolutions over frames, group norms, and changes of resolution in two parts?"""
    return is_kvae_of_clips(shapes) and not any(name.endswith(".gamma") for name in shapes)


class Norm(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.norm_layer: GroupNormOverFrames = group_norm(c)

    def ops(self) -> Ops:
        return (self.norm_layer,)


def conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Module:
    return Causal(c_in, c_out) if kernel > 1 else Conv3d(c_in, c_out, 1)


KIT = Kit(conv, Norm, causal=True)


class Downsample(nn.Module):
    """Half the rows and columns, and perhaps of 2 T - 1 frames T: convolutions, each beside a mean."""

    def __init__(self, c: int, in_time: bool):
        super().__init__()
        self.spatial_conv = Conv3d(c, c, (1, 3, 3), stride=(1, 2, 2), border=BORDER)
        self.temporal_conv = Causal(c, c, (3, 1, 1), (2, 1, 1)) if in_time else None
        self.linear = Conv3d(c, c, 1)

    def ops(self) -> Ops:
        space = Residual((self.spatial_conv,), (PixelUnshuffle(), MeanChannels(4)))
        time = Residual(self.temporal_conv.ops(), (MeanFrames(),)) if self.temporal_conv else None
        return chain(space, time, self.linear)


class KVAEVideo(Network):
    def __init__(self, c: KVAEVideoConfig):
        super().__init__()
        self.encoder = self._encoder(c, c.encoder) if c.encoder else None
        self.decoder = self._decoder(c, c.decoder) if c.decoder else None
        self.clip_law = ClipLaw(1, c.temporal_ratio, part=max(1, PART // c.temporal_ratio))

    def _encoder(self, c: KVAEVideoConfig, half: Coder) -> kvae.Encoder:
        sizes = kvae.Coder(half.widths, half.num_res_blocks, c.encoder_in_time)
        reads = (half.stem or half.widths[0], *half.widths[:-1])
        return kvae.Encoder(sizes, reads, Downsample, KIT, c.in_channels, c.z_channels)

    def _decoder(self, c: KVAEVideoConfig, half: Coder) -> kvae.Decoder:
        sizes = kvae.Coder(half.widths, half.num_res_blocks, c.decoder_in_time)
        return kvae.Decoder(sizes, KIT, BORDER, c.z_channels, c.out_channels)

    def encode_ops(self) -> Ops:
        return chain(self.encoder)

    def decode_ops(self) -> Ops:
        return chain(self.decoder)


_WIDTHS = (128, 256, 512, 1024)

FAMILY = Family(
    name="kvae_video",
    title="KVAE 3-D",
    detect=detect,
    build=KVAEVideo,
    example=KVAEVideoConfig(
        z_channels=16,
        encoder=Coder(_WIDTHS, (2,) * 4, (False,) * 4, mid_attention=False, stem=128),
        decoder=Coder(_WIDTHS, (3,) * 4, (False,) * 4, mid_attention=False),
    ),
    # diffusers has kept the authors' names: a file is of both layouts.
    layouts=tuple(Layout(name, is_kvae, write=keep_names) for name in (DIFFUSERS, ORIGINAL)),
    members=(Member("KVAE 3-D", 16, 8, 4),),
)
