"""The autoencoder of HunyuanVideo 1.5, and of HunyuanImage 2.1's refiner: 32 channels at 1/16, a latent frame for four.

Reference: diffusers' AutoencoderKLHunyuanVideo15 and AutoencoderKLHunyuanImageRefiner (which are the same for an
image); the parameters bear the names of Tencent's files. Its resampling is that of DC-AE (Chen et al. 2024,
https://arxiv.org/abs/2410.10733): pixels, and pairs of frames, are traded for channels, beside a shortcut without
parameters. `up.0` is the lowest resolution and runs first, as in HunyuanImage 2.1.

Two surprises. Pixels and frames become channels in the order (frame, row, column, channel). And the first frame has no
partner: its channels are given twice, or halved, but in its shortcut twice as many are averaged, or half as many
repeated. So an image is a clip of one frame.
"""

# HunyuanVideo 1.5's. Blocks of a level in brackets; / and * trade pixels for channels and back, t: in time too:
#   encoder   conv_in 3->128 | down 128(2) / 256(2) / 512(2) /t 1024(2) /t 1024(2) | mid | out 1024->64
#   decoder   conv_in 32->1024 | mid | up 1024(3) *t 1024(3) *t 512(3) * 256(3) * 128(3) | out 128->3

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..ops import (
    AnyOp,
    MeanChannels,
    Ops,
    PixelShuffle,
    PixelUnshuffle,
    RepeatChannels,
    Residual,
    Temporal,
    chain,
    declared,
    join,
    keeps_scale,
    silu,
)
from .blocks.base import ClipLaw, Family, Halves, Member, Network
from .blocks.ldm import SIDES, Coder, halved, read_coder
from .blocks.ldm_3d import RMS, Kit, Middle, ResnetBlock, keeps_channels, reads_as, unwrapped
from .names import diffusers, ldm
from .shapes import Shapes, has_unread_half, size, vote

ORDER = "yxc"


@dataclass(frozen=True)
class TradingConfig(Halves):
    """Levels of both halves in the order they run.

    in_time  of the changes of resolution of each half: is the number of frames changed too?
    """

    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    encoder_in_time: tuple[bool, ...] = (False, False, True, True)
    decoder_in_time: tuple[bool, ...] = (True, True, False, False)
    in_channels: int = 3
    out_channels: int = 3

    @property
    def temporal_ratio(self) -> int:
        return 2 ** sum(self.encoder_in_time if self.encoder else self.decoder_in_time)


def detect(shapes: Shapes) -> TradingConfig | None:
    return read(shapes, RMS)


def read(shapes: Shapes, kit: Kit) -> TradingConfig | None:
    if not reads_as(shapes, kit):
        return None
    shapes = unwrapped(shapes)
    encoder, decoder = read_coder(shapes, "encoder"), read_coder(shapes, "decoder")
    z = vote([size(shapes, "decoder.conv_in.weight", 1), *halved(shapes, "encoder.conv_out")])
    if not z or has_unread_half(shapes, encoder, decoder) or not (encoder or decoder) or keeps_channels(shapes):
        return None
    config = TradingConfig(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        encoder_in_time=_in_time(shapes, "encoder", encoder),
        decoder_in_time=_in_time(shapes, "decoder", decoder),
        in_channels=size(shapes, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(shapes, "decoder.conv_out.weight"), size(shapes, "decoder.conv_out.bias")]) or 3,
    )
    return config if _comes_out_even(config) else None


def _in_time(shapes: Shapes, half: str, coder: Coder | None) -> tuple[bool, ...]:
    """For each change of resolution: are eight pixels traded for channels, or four?"""
    side, found = SIDES[half], list[bool]()
    for i, following in enumerate(coder.widths[1:] if coder else ()):
        conv = f"{half}.{side}.{i}.{side}sample.conv"
        sizes = [n for n in (size(shapes, f"{conv}.weight"), size(shapes, f"{conv}.bias")) if n]
        traded = [following / n if half == "encoder" else n / following for n in sizes]
        found.append(vote(int(n) for n in traded if n in (4, 8)) == 8)
    return tuple(found)


def _comes_out_even(c: TradingConfig) -> bool:
    """Do the shortcuts' channels, at the end where z is and between levels?"""
    halves = []  # each as from pixels to z
    if c.encoder:
        halves.append((c.encoder.widths, c.encoder_in_time, 2 * c.z_channels))
    if c.decoder:
        halves.append((c.decoder.widths[::-1], c.decoder_in_time[::-1], c.z_channels))
    return all(
        widths[-1] % end == 0
        and all(
            4 * a % b == 0 and b % (8 if twice else 4) == 0
            for (a, b), twice in zip(pairwise(widths), in_time, strict=True)
        )
        for widths, in_time, end in halves
    )


class Trade(Temporal):
    """Frames are traded for channels. Before the first is none: `first` is what it makes of that one, if not None.

    `later`: an op for all others: on one made of two, or on what is parted.
    """

    def __init__(self, first: AnyOp | None, later: AnyOp | None = None):
        super().__init__()
        self.first, self.later = first, later

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.first is None or past is not None:
            return self.traded(x), x[:0].clone()
        made = self.first(x[:1])  # type: ignore[operator]
        return join([made, self.traded(x[1:])]) if len(x) > 1 else made, x[:0].clone()

    def traded(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def as_single_frame(self) -> Ops:
        assert self.first is not None
        return (self.first,)


class Joined(Trade):
    """Two frames become channels of one, (frame, channel). (2T - 1, C, H, W), or 2T -> (T, 2C, H, W), before `later`

    A clip whose last frame has no partner is continued with it.
    """

    keeps_scale = True

    def traded(self, x: Tensor) -> Tensor:
        x = join([x, x[-1:]]) if len(x) % 2 else x
        t, c, h, w = x.shape
        y = x.permute(0, 2, 3, 1).reshape(t // 2, 2, h, w, c).permute(0, 2, 3, 1, 4)
        y = y.reshape(t // 2, h, w, 2 * c).permute(0, 3, 1, 2)
        return self.later(y) if self.later else y  # type: ignore[operator]


class Parted(Trade):
    """The way back. (T, 2C, H, W), after `later` -> (2T - 1, C, H, W), or 2T"""

    keeps_scale = True

    def __init__(self, first: AnyOp | None, later: AnyOp | None = None):
        super().__init__(first, later)
        self.growth = declared(later).growth if later else 1.0

    def traded(self, x: Tensor) -> Tensor:
        x = self.later(x) if self.later else x  # type: ignore[operator]
        t, c, h, w = x.shape
        y = x.permute(0, 2, 3, 1).reshape(t, h, w, 2, c // 2).permute(0, 3, 1, 2, 4)
        return y.reshape(2 * t, h, w, c // 2).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


@keeps_scale
def _twice(x: Tensor) -> Tensor:
    return join([x, x], 1)


@keeps_scale
def _half(x: Tensor) -> Tensor:
    """The first half of the channels that each of four pixels gets."""
    b, c, h, w = x.shape
    y = x.permute(0, 2, 3, 1).unflatten(-1, (4, -1))[..., : c // 8]
    return y.reshape(b, h, w, c // 2).permute(0, 3, 1, 2)


class Downsample(nn.Module):
    """(T, c_in, 2H, 2W) -> (T', c_out, H, W)"""

    def __init__(self, c_in: int, c_out: int, in_time: bool, kit: Kit):
        super().__init__()
        traded = 8 if in_time else 4
        self.conv = kit.conv(c_in, c_out // traded)
        self.in_time, self.causal, self.group = in_time, kit.causal, traded * c_in // c_out

    def ops(self) -> Ops:
        unshuffle, mean = PixelUnshuffle(ORDER), MeanChannels(self.group)
        if not self.in_time:
            return (Residual(chain(self.conv, unshuffle), (unshuffle, mean)),)
        body = Joined(_twice if self.causal else None)
        skip = Joined(MeanChannels(self.group // 2) if self.causal else None, mean)
        return (Residual(chain(self.conv, unshuffle, body), (unshuffle, skip)),)


class Upsample(nn.Module):
    """(T, c_in, H, W) -> (T', c_out, 2H, 2W)"""

    def __init__(self, c_in: int, c_out: int, in_time: bool, kit: Kit):
        super().__init__()
        traded = 8 if in_time else 4
        self.conv = kit.conv(c_in, traded * c_out)
        self.in_time, self.causal, self.times = in_time, kit.causal, traded * c_out // c_in

    def ops(self) -> Ops:
        shuffle, repeat = PixelShuffle(ORDER), RepeatChannels(self.times)
        if not self.in_time:
            return (Residual(chain(self.conv, shuffle), (repeat, shuffle)),)
        body = Parted(_half if self.causal else None)
        skip = Parted(RepeatChannels(self.times // 2) if self.causal else None, repeat)
        return (Residual(chain(self.conv, body, shuffle), (skip, shuffle)),)


class Level(nn.Module):
    """One resolution: residual blocks of as many channels, then perhaps a change of resolution and of channels."""

    def __init__(self, c: int, blocks: int, kit: Kit, change: Downsample | Upsample | None):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c, c, kit) for _ in range(blocks))
        self.downsample = change if isinstance(change, Downsample) else None
        self.upsample = change if isinstance(change, Upsample) else None

    def ops(self) -> Ops:
        return chain(*self.block, self.downsample, self.upsample)


def levels(c: Coder, in_time: tuple[bool, ...], change: type[Downsample | Upsample], kit: Kit) -> nn.ModuleList:
    changes = [change(*pair, twice, kit) for pair, twice in zip(pairwise(c.widths), in_time, strict=True)]
    return nn.ModuleList(
        Level(width, blocks, kit, after)
        for width, blocks, after in zip(c.widths, c.num_res_blocks, (*changes, None), strict=True)
    )


class Encoder(nn.Module):
    """pixels (T, 3, H, W) in [-1, 1] -> moments (T', 2 * z_channels, h, w)"""

    def __init__(self, coder: Coder, c: TradingConfig, kit: Kit):
        super().__init__()
        top = coder.widths[-1]
        self.conv_in = kit.conv(c.in_channels, coder.widths[0])
        self.down = levels(coder, c.encoder_in_time, Downsample, kit)
        self.mid = Middle(top, coder.mid_attention, kit)
        self.norm_out, self.conv_out = kit.norm(top), kit.conv(top, 2 * c.z_channels)
        self.shortcut = MeanChannels(top // (2 * c.z_channels))

    def ops(self) -> Ops:
        out = Residual(chain(self.norm_out, silu, self.conv_out), (self.shortcut,))
        return chain(self.conv_in, *self.down, self.mid, out)


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> pixels (T', 3, H, W) in [-1, 1]"""

    def __init__(self, coder: Coder, c: TradingConfig, kit: Kit):
        super().__init__()
        top, last = coder.widths[0], coder.widths[-1]
        self.conv_in = kit.conv(c.z_channels, top)
        self.shortcut = RepeatChannels(top // c.z_channels)
        self.mid = Middle(top, coder.mid_attention, kit)
        self.up = levels(coder, c.decoder_in_time, Upsample, kit)
        self.norm_out, self.conv_out = kit.norm(last), kit.conv(last, c.out_channels)

    def ops(self) -> Ops:
        start = Residual(chain(self.conv_in), (self.shortcut,))
        return chain(start, self.mid, *self.up, self.norm_out, silu, self.conv_out)


class HunyuanVideo15VAE(Network):
    kit = RMS

    def __init__(self, c: TradingConfig):
        super().__init__()
        self.encoder = Encoder(c.encoder, c, self.kit) if c.encoder else None
        self.decoder = Decoder(c.decoder, c, self.kit) if c.decoder else None
        self.clip_law = ClipLaw(1, c.temporal_ratio)

    def encode_ops(self) -> Ops:
        return chain(self.encoder)

    def decode_ops(self) -> Ops:
        return chain(self.decoder)


_WIDTHS, _LEVELS = (128, 256, 512, 1024, 1024), 5

PUBLISHED = TradingConfig(
    z_channels=32,
    encoder=Coder(_WIDTHS, (2,) * _LEVELS, (False,) * _LEVELS, stem=128),
    decoder=Coder(_WIDTHS[::-1], (3,) * _LEVELS, (False,) * _LEVELS),
)

FAMILY = Family(
    name="hunyuan_video_15",
    title="HunyuanVideo 1.5 autoencoder (3-D)",
    detect=detect,
    build=HunyuanVideo15VAE,
    example=PUBLISHED,
    layouts=(ldm.LDM_OF_CLIPS, diffusers.STRAIGHT, *ldm.HALVES, *diffusers.TURNED_HALVES),
    members=(Member("HunyuanVideo 1.5, HunyuanImage 2.1's refiner", 32, 16, 4),),
)
