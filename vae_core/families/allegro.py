"""Allegro's autoencoder of clips: 4 channels at 1/8, and one latent frame for four.

Rhymes AI 2024 (https://arxiv.org/abs/2410.15458); reference: diffusers' AutoencoderKLAllegro, whose parameters' names
are those of rhymes-ai/Allegro too. It is latent diffusion's autoencoder of images; after each of its blocks come four
convolutions over frames, whose norms see all frames of a clip. So a clip is run with all its frames; rows can still be
a few at a time.

Three surprises. Those norms count the first and the last frame twice, because ends are repeated before a norm and not
before its convolution. No frame is special: a clip has 4 n frames, and an image is a clip of four. And diffusers runs
the network in tiles of 24 frames and 320 pixels only, which it blends; here it is run on the clip, as for one tile.
"""

# Allegro's. Blocks of a level in brackets, each with convolutions over frames; / halves, * doubles, t: frames too:
#   encoder   conv_in 3->128 | down 128(2) t/ 256(2) t/ 512(2) / 512(2) | mid | out 512->8 | quant_conv 8->8
#   decoder   post_quant_conv 4->4 | conv_in 4->512 | mid | up 512(3) * 512(3) t* 256(3) t* 128(3) | out 128->3

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..ops import Conv2d, Conv3d, EachTwice, GroupNormOverFrames, Ops, Residual, Temporal, chain, join, silu
from .blocks.base import ClipLaw, ConfigJson, Family, Halves, Member, Network
from .blocks.ldm import GROUPS, AttnBlock, Coder, Resample, ResnetBlock, halved, norm, read_coder
from .names import allegro as names
from .shapes import Shapes, has_unread_half, size, vote


@dataclass(frozen=True)
class AllegroConfig(Halves):
    """in_time: of each level of a half, from the highest resolution: does it change the number of frames?"""

    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    encoder_in_time: tuple[bool, ...] = (True, True, False, False)
    decoder_in_time: tuple[bool, ...] = (False, True, True, False)
    in_channels: int = 3
    out_channels: int = 3

    @property
    def temporal_ratio(self) -> int:
        return 2 ** sum(self.encoder_in_time if self.encoder else self.decoder_in_time)


def detect(shapes: Shapes) -> AllegroConfig | None:
    if not any(".temp_convs." in name for name in shapes):
        return None
    encoder, decoder = read_coder(shapes, "encoder"), read_coder(shapes, "decoder")
    z = vote([size(shapes, "decoder.conv_in.weight", 1), size(shapes, "post_quant_conv.weight"),
              size(shapes, "post_quant_conv.bias"), *halved(shapes, "encoder.conv_out")])  # fmt: skip
    if not z or has_unread_half(shapes, encoder, decoder) or not (encoder or decoder):
        return None
    return AllegroConfig(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        encoder_in_time=_in_time(shapes, encoder, "encoder.down.{}.temp_convs_down."),
        decoder_in_time=_in_time(shapes, decoder, "decoder.up.{}.temp_conv_up."),
        in_channels=size(shapes, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(shapes, "decoder.conv_out.weight"), size(shapes, "decoder.conv_out.bias")]) or 3,
    )


def _in_time(shapes: Shapes, coder: Coder | None, start: str) -> tuple[bool, ...]:
    levels = range(len(coder.widths) if coder else 0)
    return tuple(any(name.startswith(start.format(i)) for name in shapes) for i in levels)


class WholeClip(Temporal):
    """An op on all frames of a clip at once, as its network runs it: there is nothing before and after them."""

    keeps_scale = True

    def change(self, x: Tensor) -> Tensor:
        """(T, C, H, W) -> (T', C', H, W)"""
        raise NotImplementedError

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.change(x), x[:0].clone()

    def as_single_frame(self) -> Ops:
        raise NotImplementedError("an image is run as a clip")


class RepeatEnds(WholeClip):
    """The first and the last frame twice. (T, C, H, W) -> (T + 2, C, H, W)"""

    def change(self, x: Tensor) -> Tensor:
        return join([x[:1], x, x[-1:]])


class EverySecond(WholeClip):
    """(2 T, C, H, W) -> (T, C, H, W)"""

    growth = 0.5

    def change(self, x: Tensor) -> Tensor:
        return x[::2]


class PairsToFrames(WholeClip):
    """Two frames of each, whose channels lie one after the other. (T, 2 C, H, W) -> (2 T, C, H, W)"""

    def change(self, x: Tensor) -> Tensor:
        pairs = x.permute(0, 2, 3, 1).unflatten(-1, (2, -1)).permute(0, 3, 1, 2, 4)
        return pairs.flatten(0, 1).contiguous().permute(0, 3, 1, 2)  # of one frame it may be a view


DOWN, UP = "down", "up"


class OverFrames(nn.Module):
    """Four convolutions over frames, added. side: None, or how the first changes the number of frames.

    The layers of each convolution are numbered as in the reference, where dropout may lie between.
    """

    def __init__(self, c: int, side: str | None = None):
        super().__init__()
        self.side, k = side, 3 if side else 1
        kernels = {None: (3, 1, 1), DOWN: (2, 3, 3), UP: (1, 3, 3)}
        first = _over(c, 2 * c if side == UP else c, kernels[side], step=2 if side == DOWN else 1)
        self.conv1 = nn.ModuleDict({"0": _norm(c), "2": first})
        self.conv2, self.conv3 = (nn.ModuleDict({"0": _norm(c), "3": _over(c, c, (3, k, k))}) for _ in range(2))
        self.conv4 = nn.ModuleDict({"0": _norm(c), "2": _over(c, c, (3, k, k))})

    def ops(self) -> Ops:
        norm1, conv1 = self.conv1.values()
        first = (norm1, silu, conv1) if self.side else (RepeatEnds(), norm1, silu, conv1)
        pairs = [tuple(one.values()) for one in (self.conv2, self.conv3, self.conv4)]
        rest = [op for norm2, conv in pairs for op in (RepeatEnds(), norm2, silu, conv)]
        skip = {None: (), DOWN: (EverySecond(),), UP: (EachTwice(),)}[self.side]
        return (Residual((*first, *((PairsToFrames(),) if self.side == UP else ()), *rest), skip),)


def _norm(c: int) -> GroupNormOverFrames:
    return GroupNormOverFrames(GROUPS, c, eps=1e-5)


def _over(c: int, c_out: int, kernel: tuple[int, int, int], step: int = 1) -> Conv3d:
    """It is run as it is, on frames that include all it reads."""
    return Conv3d(c, c_out, kernel, stride=(step, 1, 1), repeats=True, border="constant")


class Level(nn.Module):
    """One resolution: residual blocks and convolutions over frames, then perhaps fewer or more frames, and pixels."""

    def __init__(self, c_in: int, c: int, blocks: int, side: str, in_time: bool, in_space: bool):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c_in if i == 0 else c, c) for i in range(blocks))
        self.temp_convs = nn.ModuleList(OverFrames(c) for _ in range(blocks))
        self.temp_convs_down = OverFrames(c, DOWN) if in_time and side == DOWN else None
        self.temp_conv_up = OverFrames(c, UP) if in_time and side == UP else None
        self.downsample = Resample(c, up=False) if in_space and side == DOWN else None
        self.upsample = Resample(c, up=True) if in_space and side == UP else None

    def ops(self) -> Ops:
        pairs = (op for pair in zip(self.block, self.temp_convs, strict=True) for op in pair)
        return chain(*pairs, self.temp_convs_down, self.temp_conv_up, self.downsample, self.upsample)


class Middle(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = ResnetBlock(c, c), AttnBlock(c), ResnetBlock(c, c)
        self.temp_convs = nn.ModuleList(OverFrames(c) for _ in range(2))

    def ops(self) -> Ops:
        first, second = self.temp_convs
        return chain(self.block_1, first, self.attn_1, self.block_2, second)


def _around(c: int) -> Conv3d:
    """Beyond both ends of the clip are zeros."""
    return Conv3d(c, c, (3, 1, 1), around=True)


class Half(nn.Module):
    """What both halves begin and end with: a convolution of images, and one over frames that is added."""

    def __init__(self, c_in: int, first: int, last: int, c_out: int):
        super().__init__()
        self.conv_in, self.temp_conv_in = Conv2d(c_in, first), _around(first)
        self.norm_out, self.temp_conv_out, self.conv_out = norm(last), _around(last), Conv2d(last, c_out)

    def begin(self) -> Ops:
        return (self.conv_in, Residual((self.temp_conv_in,)))

    def end(self) -> Ops:
        return (self.norm_out, silu, Residual((self.temp_conv_out,)), self.conv_out)


class Encoder(Half):
    """pixels (T, 3, H, W) in [-1, 1] -> moments (T', 2 * z_channels, h, w)"""

    def __init__(self, c: Coder, in_time: tuple[bool, ...], in_channels: int, z: int):
        stem, last = c.stem or c.widths[0], len(c.widths) - 1
        super().__init__(in_channels, stem, c.widths[-1], 2 * z)
        levels = zip((stem, *c.widths[:-1]), c.widths, c.num_res_blocks, in_time, strict=True)
        self.down = nn.ModuleList(Level(a, b, n, DOWN, time, i < last) for i, (a, b, n, time) in enumerate(levels))
        self.mid = Middle(c.widths[-1])

    def ops(self) -> Ops:
        return chain(*self.begin(), *self.down, self.mid, *self.end())


class Decoder(Half):
    """z (T, z_channels, h, w) -> pixels (T', 3, H, W) in [-1, 1]. Level 0 is the highest resolution and runs last."""

    def __init__(self, c: Coder, in_time: tuple[bool, ...], z: int, out_channels: int):
        super().__init__(z, c.widths[-1], c.widths[0], out_channels)
        levels = zip((*c.widths[1:], c.widths[-1]), c.widths, c.num_res_blocks, in_time, strict=True)
        self.up = nn.ModuleList(Level(a, b, n, UP, time, i > 0) for i, (a, b, n, time) in enumerate(levels))
        self.mid = Middle(c.widths[-1])

    def ops(self) -> Ops:
        return chain(*self.begin(), self.mid, *reversed(self.up), *self.end())


class AllegroVAE(Network):
    def __init__(self, c: AllegroConfig):
        super().__init__()
        z, frames = c.z_channels, c.temporal_ratio
        self.encoder = Encoder(c.encoder, c.encoder_in_time, c.in_channels, z) if c.encoder else None
        self.decoder = Decoder(c.decoder, c.decoder_in_time, z, c.out_channels) if c.decoder else None
        self.quant_conv = Conv2d(2 * z, 2 * z, 1) if c.encoder else None
        self.post_quant_conv = Conv2d(z, z, 1) if c.decoder else None
        self.clip_law = ClipLaw(frames, frames, images_are_clips=True, images_join=True)

    def encode_ops(self) -> Ops:
        return chain(self.encoder, self.quant_conv)

    def decode_ops(self) -> Ops:
        return chain(self.post_quant_conv, self.decoder)


def read_config_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"norm_num_groups": GROUPS, "act_fn": "silu"}


_WIDTHS, _LEVELS = (128, 256, 512, 512), 4

FAMILY = Family(
    name="allegro",
    title="Allegro's autoencoder",
    detect=detect,
    build=AllegroVAE,
    example=AllegroConfig(
        z_channels=4,
        encoder=Coder(_WIDTHS, (2,) * _LEVELS, (False,) * _LEVELS, stem=128),
        decoder=Coder(_WIDTHS, (3,) * _LEVELS, (False,) * _LEVELS),
    ),
    layouts=(names.ALLEGRO_DIFFUSERS, names.ALLEGRO, names.REFERENCE),
    config_json=ConfigJson(("AutoencoderKLAllegro", "AllegroAutoencoderKL3D"), read_config_json),
    members=(Member("Allegro", 4, 8, 4),),
)
