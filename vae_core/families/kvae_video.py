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
from functools import partial

from torch import nn

from ..ops import (
    Conv3d,
    GroupNormOverFrames,
    MeanChannels,
    MeanFrames,
    Ops,
    PixelUnshuffle,
    RepeatFrames,
    Residual,
    SideInput,
    Upsample2x,
    chain,
    plus,
    silu,
    times,
)
from .blocks.base import ClipLaw, Family, Halves, Member, Network
from .blocks.ldm import Coder, halved, read_coder, without_spatial_norms
from .blocks.ldm_3d import Causal, Kit, Middle, ResnetBlock, group_norm, unwrapped
from .names.layout import DIFFUSERS, ORIGINAL, Layout, keep_names
from .shapes import Shapes, has_unread_half, size, vote

PART = 16  # frames in a part (seg_len of diffusers' encoder)


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
        encoder_in_time=_in_time(shapes, encoder, "encoder.down.{}.downsample", 0),
        decoder_in_time=_in_time(shapes, decoder, "decoder.up.{}.upsample", 1),
        in_channels=size(own, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(own, "decoder.conv_out.weight"), size(own, "decoder.conv_out.bias")]) or 3,
    )


def is_kvae(shapes: Shapes) -> bool:
    """Wrapped convolutions over frames, group norms, and changes of resolution in two parts?"""
    spatial = [len(shape) for name, shape in shapes.items() if name.endswith(".spatial_conv.weight")]
    wrapped = any(name.endswith((".conv1.conv.weight", ".conv1.conv.bias")) for name in shapes)
    return spatial.count(5) * 2 > len(spatial) and wrapped and not any(name.endswith(".gamma") for name in shapes)


def _in_time(shapes: Shapes, coder: Coder | None, start: str, first: int) -> tuple[bool, ...]:
    """Of each level of a half but one, counted from the first that changes the resolution."""
    levels = range(first, first + len(coder.widths) - 1 if coder else first)
    return tuple(any(name.startswith(f"{start.format(i)}.temporal_conv.") for name in shapes) for i in levels)


def in_space(c: int, stride: int = 1) -> Conv3d:
    return Conv3d(c, c, (1, 3, 3), stride=(1, stride, stride), border="reflect")


class Norm(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.norm_layer: GroupNormOverFrames = group_norm(c)

    def ops(self) -> Ops:
        return (self.norm_layer,)


class SpatialNorm(nn.Module):
    """A group norm, then scale and shift at every pixel from z, doubled to the size and number of the frames."""

    def __init__(self, z: int, doublings: int, in_time: int, c: int):
        super().__init__()
        self.norm_layer, self.conv_y, self.conv_b = Norm(c), Conv3d(z, c, 1), Conv3d(z, c, 1)
        self.doublings, self.in_time = doublings, in_time

    def ops(self) -> Ops:
        """A 1x1 convolution and repeated pixels change places: it reads z before it is enlarged."""
        y, b = ((one, *self._enlarge()) for one in (self.conv_y, self.conv_b))
        return (*self.norm_layer.ops(), SideInput(y, times), SideInput(b, plus))

    def _enlarge(self) -> Ops:
        return (*(RepeatFrames() for _ in range(self.in_time)), *(Upsample2x() for _ in range(self.doublings)))


def conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Module:
    return Causal(c_in, c_out) if kernel > 1 else Conv3d(c_in, c_out, 1)


class Downsample(nn.Module):
    """Half the rows and columns, and perhaps of 2 T - 1 frames T: convolutions, each beside a mean."""

    def __init__(self, c: int, in_time: bool):
        super().__init__()
        self.spatial_conv = in_space(c, 2)
        self.temporal_conv = Causal(c, c, (3, 1, 1), (2, 1, 1)) if in_time else None
        self.linear = Conv3d(c, c, 1)

    def ops(self) -> Ops:
        space = Residual((self.spatial_conv,), (PixelUnshuffle(), MeanChannels(4)))
        time = Residual(self.temporal_conv.ops(), (MeanFrames(),)) if self.temporal_conv else None
        return chain(space, time, self.linear)


class Upsample(nn.Module):
    """The way back: frames, then pixels are doubled, and each time a convolution is added."""

    def __init__(self, c: int, in_time: bool):
        super().__init__()
        self.spatial_conv = in_space(c)
        self.temporal_conv = Causal(c, c, (3, 1, 1)) if in_time else None
        self.linear = Conv3d(c, c, 1)

    def ops(self) -> Ops:
        time = (RepeatFrames(), Residual(self.temporal_conv.ops())) if self.temporal_conv else ()
        return chain(*time, Upsample2x(), Residual((self.spatial_conv,)), self.linear)


class Level(nn.Module):
    """One resolution: residual blocks, then perhaps a change of resolution."""

    def __init__(self, c_in: int, c: int, blocks: int, kit: Kit, change: Downsample | Upsample | None):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c_in if i == 0 else c, c, kit) for i in range(blocks))
        self.downsample = change if isinstance(change, Downsample) else None
        self.upsample = change if isinstance(change, Upsample) else None

    def ops(self) -> Ops:
        return chain(*self.block, self.downsample, self.upsample)


class Encoder(nn.Module):
    """pixels (T, 3, H, W) in [-1, 1] -> moments (T', 2 * z_channels, h, w)"""

    def __init__(self, c: Coder, in_time: tuple[bool, ...], in_channels: int, z: int):
        super().__init__()
        kit, top, stem = Kit(conv, Norm, causal=True), c.widths[-1], c.stem or c.widths[0]
        self.conv_in = Causal(in_channels, stem)
        changes = (*(Downsample(width, time) for width, time in zip(c.widths[:-1], in_time, strict=True)), None)
        levels = zip((stem, *c.widths[:-1]), c.widths, c.num_res_blocks, changes, strict=True)
        self.down = nn.ModuleList(Level(a, b, n, kit, change) for a, b, n, change in levels)
        self.mid = Middle(top, False, kit)
        self.norm_out, self.conv_out = Norm(top), Causal(top, 2 * z)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.down, self.mid, self.norm_out, silu, self.conv_out)


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> pixels (T', 3, H, W) in [-1, 1]. Level 0 is the highest resolution and runs last."""

    def __init__(self, c: Coder, in_time: tuple[bool, ...], z: int, out_channels: int):
        super().__init__()
        top, last = c.widths[-1], len(c.widths) - 1
        kits = [Kit(conv, partial(SpatialNorm, z, last - i, sum(in_time[i:])), causal=True) for i in range(last + 1)]
        self.conv_in, self.mid = Causal(z, top), Middle(top, False, kits[last])
        changes = (None, *(Upsample(width, time) for width, time in zip(c.widths[1:], in_time, strict=True)))
        levels = zip((*c.widths[1:], top), c.widths, c.num_res_blocks, kits, changes, strict=True)
        self.up = nn.ModuleList(Level(*level) for level in levels)
        self.norm_out, self.conv_out = kits[0].norm(c.widths[0]), Causal(c.widths[0], out_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, self.mid, *reversed(self.up), self.norm_out, silu, self.conv_out)


class KVAEVideo(Network):
    def __init__(self, c: KVAEVideoConfig):
        super().__init__()
        z = c.z_channels
        self.encoder = Encoder(c.encoder, c.encoder_in_time, c.in_channels, z) if c.encoder else None
        self.decoder = Decoder(c.decoder, c.decoder_in_time, z, c.out_channels) if c.decoder else None
        self.clip_law = ClipLaw(1, c.temporal_ratio, part=max(1, PART // c.temporal_ratio))

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
