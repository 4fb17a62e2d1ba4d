"""Mochi's autoencoder of clips: 12 channels at 1/8, and one latent frame for six.

Genmo 2024 (https://github.com/genmoai/mochi, Apache-2.0: src/genmo/mochi_preview/vae/models.py); reference: diffusers'
AutoencoderKLMochi, whose names the parameters bear. The encoder is half as wide as the decoder and alone has attention:
along time, each pixel for itself, to itself and the frames before. Norms see single frames, so a clip is run a few
frames at a time; the keys and values of all frames so far are kept.

Three surprises. The encoder sees fifteen channels: colours, and their sines and cosines of two high frequencies, which
need fp32. One latent frame makes six, of which the first five go at the very end, so an image is run as a clip. And
beyond the borders of an image, as before a clip, the nearest pixel is seen again.
"""

# Mochi's. Blocks of a level in brackets; a: with attention, /t3: pixels halved, and one frame for three:
#   encoder   features 3->15 | 15->64 | 64(3) / 128(3)a /t2 256(4)a /t3 384(6)a | 384(3)a | out 384->24
#   decoder   conv_in 12->768 | 768(3) | 768(6) *t3 512(4) *t2 256(3) * | 128(3) | out 128->3

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..devices.dtypes import at_least_fp32
from ..ops import ChannelsToFrames, Conv2d, Conv3d, Op, Ops, PixelShuffle, Residual, Temporal, chain, join, silu
from .blocks.base import ClipLaw, Family, Halves, Member, Network
from .blocks.ldm import GROUPS, halved
from .blocks.ldm_3d import Causal
from .names import mochi as names
from .shapes import Shapes, count, has_unread_half, size, vote

HEAD = 32  # channels of one head
POWERS = (6, 7)  # of two: the frequencies of the encoder's features


@dataclass(frozen=True)
class Coder:
    """One half, its levels in the order they run.

    widths     channels before all changes of resolution, and after each
    blocks     residual blocks of the first stage, of each level, and of the last stage
    frames     for each change of resolution: how many become one, or are made of one
    attention  of each stage and level: does attention follow each block?
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    frames: tuple[int, ...]
    attention: tuple[bool, ...]


@dataclass(frozen=True)
class MochiConfig(Halves):
    """joined: are the weights of queries, keys and values one tensor?"""

    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    joined: bool = True
    in_channels: int = 3
    out_channels: int = 3

    @property
    def temporal_ratio(self) -> int:
        coder = self.encoder or self.decoder
        assert coder
        return math.prod(coder.frames)


def detect(shapes: Shapes) -> MochiConfig | None:
    encoder, decoder = _read_encoder(shapes), _read_decoder(shapes)
    z = vote([size(shapes, "decoder.conv_in.weight", 1), *halved(shapes, "encoder.proj_out")])
    if not z or has_unread_half(shapes, encoder, decoder) or not (encoder or decoder):
        return None
    joined = not any(name.endswith(".to_q.weight") for name in shapes)
    seen = size(shapes, "encoder.proj_in.weight", 1)
    shown = vote([size(shapes, f"decoder.proj_out.{part}") for part in ("weight", "bias")])
    return MochiConfig(z, encoder, decoder, joined, max(1, (seen or 15) // (1 + 2 * len(POWERS))), shown or 3)


def _stages(shapes: Shapes, half: str, side: str) -> list[str]:
    levels = f"{half}.{side}_blocks."
    return [f"{half}.block_in.", *(f"{levels}{i}." for i in range(count(shapes, levels))), f"{half}.block_out."]


def _read_stages(shapes: Shapes, stages: list[str]) -> tuple[list[int], list[int], list[bool]] | None:
    """Of each: its width, its blocks, has it attention? None if one is unreadable."""
    blocks = [count(shapes, f"{stage}resnets.") for stage in stages]
    widths = [_width(shapes, stage, n) for stage, n in zip(stages, blocks, strict=True)]
    attention = [any(name.startswith(f"{stage}attentions.") for name in shapes) for stage in stages]
    whole = [width for width in widths if width and width % GROUPS == 0]
    return (whole, blocks, attention) if len(whole) == len(stages) > 2 else None


def _width(shapes: Shapes, stage: str, blocks: int) -> int | None:
    convs = (f"{stage}resnets.{i}.conv{j}.conv.{part}" for i in range(blocks) for j in (1, 2) for part in _BOTH)
    return vote(size(shapes, conv) for conv in convs)


_BOTH = ("weight", "bias")


def _read_encoder(shapes: Shapes) -> Coder | None:
    stages = _stages(shapes, "encoder", "down")
    if not (found := _read_stages(shapes, stages)):
        return None
    widths, blocks, attention = found
    frames = tuple(size(shapes, f"{stage}conv_in.conv.weight", 2) or 1 for stage in stages[1:-1])
    return Coder(tuple(widths[:-1]), tuple(blocks), frames, tuple(attention))


def _read_decoder(shapes: Shapes) -> Coder | None:
    stages = _stages(shapes, "decoder", "up")
    if not (found := _read_stages(shapes, stages)):
        return None
    widths, blocks, attention = found
    made = [[size(shapes, f"{stage}proj.{part}") for part in _BOTH] for stage in stages[1:-1]]
    frames = [
        next((n // (4 * width) for n in one if n and n % (4 * width) == 0), 1)
        for one, width in zip(made, widths[2:], strict=True)
    ]
    return Coder(tuple(widths[1:]), tuple(blocks), tuple(frames), tuple(attention))


class Features(Op):
    """Colours, and sines and cosines of many times them. (B, C, H, W) -> (B, 5 C, H, W), computed in fp32 at least"""

    growth = 1.0 + 2 * len(POWERS)

    def __call__(self, x: Tensor) -> Tensor:
        exact = x.permute(0, 2, 3, 1).to(at_least_fp32(x.dtype))
        angles = torch.stack([exact * (2.0**power * 2 * math.pi) for power in POWERS], -1).flatten(-2)
        return torch.cat([exact, angles.sin(), angles.cos()], -1).to(x.dtype).permute(0, 3, 1, 2)


def norm(c: int) -> nn.ModuleDict:
    return nn.ModuleDict({"norm_layer": nn.GroupNorm(GROUPS, c, eps=1e-5)})


class ResnetBlock(nn.Module):
    """(T, C, H, W) -> same"""

    def __init__(self, c: int):
        super().__init__()
        self.norm1, self.norm2 = norm(c), norm(c)
        self.conv1, self.conv2 = Causal(c, c), Causal(c, c)

    def ops(self) -> Ops:
        first, second = self.norm1["norm_layer"], self.norm2["norm_layer"]
        return (Residual(chain(first, silu, self.conv1, second, silu, self.conv2)),)


class TimeAttention(Temporal):
    """Each pixel to itself in this frame and those before. (T, C, H, W) -> same

    What it knows of earlier frames are their keys and values, (T, 2 C, H, W).
    """

    def __init__(self, c: int, joined: bool):
        super().__init__()
        self.to_qkv = Conv2d(c, 3 * c, 1, bias=False) if joined else None
        self.to_q, self.to_k, self.to_v = (None if joined else Conv2d(c, c, 1, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([Conv2d(c, c, 1)])

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        q, k, v = self._project(x)
        known = join([k, v], 1) if past is None else join([past, join([k, v], 1)])
        k, v = (_by_pixel(t) for t in known.chunk(2, 1))
        q, k = (F.normalize(t, dim=-1) for t in (_by_pixel(q), k))
        sees = torch.ones(len(x), len(known), dtype=torch.bool, device=x.device).tril(len(known) - len(x))
        y = F.scaled_dot_product_attention(q, k, v, sees)  # (pixels, heads, T, HEAD)
        t, c, h, w = x.shape
        y = y.permute(2, 0, 1, 3).reshape(t, h, w, c).permute(0, 3, 1, 2)
        return self.to_out[0](y), known

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.to_qkv is not None:
            return self.to_qkv(x).chunk(3, 1)
        return tuple(conv(x) for conv in (self.to_q, self.to_k, self.to_v) if conv is not None)

    def as_single_frame(self) -> Ops:
        raise NotImplementedError("an image is run as a clip")


def _by_pixel(x: Tensor) -> Tensor:
    """(T, C, H, W) -> (H * W, heads, T, HEAD)"""
    t, c, h, w = x.shape
    return x.permute(2, 3, 1, 0).reshape(h * w, c // HEAD, HEAD, t).transpose(2, 3)


class Stage(nn.Module):
    """Residual blocks of one width, each perhaps with attention."""

    def __init__(self, c: int, blocks: int, attention: bool, joined: bool):
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(c) for _ in range(blocks))
        self.norms = nn.ModuleList(norm(c) for _ in range(blocks if attention else 0))
        self.attentions = nn.ModuleList(TimeAttention(c, joined) for _ in range(blocks if attention else 0))

    def ops(self) -> Ops:
        looks = [Residual((n["norm_layer"], one)) for n, one in zip(self.norms, self.attentions, strict=True)]  # type: ignore[index]
        return chain(
            *(op for pair in zip(self.resnets, looks or [None] * len(self.resnets), strict=True) for op in pair)
        )


class Down(Stage):
    """Less resolution, then blocks. (T, c_in, 2H, 2W) -> (T', c, H, W)"""

    def __init__(self, c_in: int, c: int, blocks: int, attention: bool, joined: bool, frames: int):
        super().__init__(c, blocks, attention, joined)
        kernel = (frames, 2, 2)
        self.conv_in = nn.ModuleDict({"conv": Conv3d(c_in, c, kernel, stride=kernel, pad=(0, 0), repeats=True)})

    def ops(self) -> Ops:
        return (*chain(self.conv_in["conv"]), *super().ops())


class Up(Stage):
    """Blocks, then more resolution: channels are traded for pixels and frames.

    (T, c, H, W) -> (frames T, c_out, 2H, 2W)
    """

    def __init__(self, c: int, c_out: int, blocks: int, attention: bool, joined: bool, frames: int):
        super().__init__(c, blocks, attention, joined)
        self.proj, self.frames = Conv2d(c, c_out * frames * 4, 1), frames

    def ops(self) -> Ops:
        in_time = ChannelsToFrames(self.frames, keeps_first=True) if self.frames > 1 else None
        return (*super().ops(), *chain(self.proj, PixelShuffle(), in_time))


class DropFirst(Temporal):
    """A clip without its first frames. (T, C, H, W) -> (T - frames, C, H, W)"""

    keeps_scale = True

    def __init__(self, frames: int):
        super().__init__()
        self.frames = frames

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        return x[self.frames if past is None else 0 :], x[:0].clone()

    def as_single_frame(self) -> Ops:
        raise NotImplementedError("an image is run as a clip")


class Encoder(nn.Module):
    """features (T, 15, H, W) -> moments (T', 2 * z_channels, h, w)"""

    def __init__(self, c: Coder, seen: int, z: int, joined: bool):
        super().__init__()
        top = c.widths[-1]
        self.proj_in = Conv2d(seen, c.widths[0], 1)
        self.block_in = Stage(c.widths[0], c.blocks[0], c.attention[0], joined)
        pairs = zip(c.widths, c.widths[1:], c.blocks[1:-1], c.attention[1:-1], c.frames, strict=False)
        self.down_blocks = nn.ModuleList(Down(a, b, n, looks, joined, frames) for a, b, n, looks, frames in pairs)
        self.block_out = Stage(top, c.blocks[-1], c.attention[-1], joined)
        self.norm_out, self.proj_out = norm(top), Conv2d(top, 2 * z, 1, bias=False)

    def ops(self) -> Ops:
        out = (self.norm_out["norm_layer"], silu, self.proj_out)
        return chain(self.proj_in, self.block_in, *self.down_blocks, self.block_out, *out)


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> pixels (T', 3, H, W)"""

    def __init__(self, c: Coder, z: int, shown: int, joined: bool):
        super().__init__()
        self.conv_in = Conv3d(z, c.widths[0], 1)
        self.block_in = Stage(c.widths[0], c.blocks[0], c.attention[0], joined)
        pairs = zip(c.widths, c.widths[1:], c.blocks[1:-1], c.attention[1:-1], c.frames, strict=False)
        self.up_blocks = nn.ModuleList(Up(a, b, n, looks, joined, frames) for a, b, n, looks, frames in pairs)
        self.block_out = Stage(c.widths[-1], c.blocks[-1], c.attention[-1], joined)
        self.proj_out, self.drops = Conv2d(c.widths[-1], shown, 1), math.prod(c.frames) - 1

    def ops(self) -> Ops:
        out = (silu, self.proj_out, DropFirst(self.drops))
        return chain(self.conv_in, self.block_in, *self.up_blocks, self.block_out, *out)


class MochiVAE(Network):
    def __init__(self, c: MochiConfig):
        super().__init__()
        seen = c.in_channels * (1 + 2 * len(POWERS))
        self.encoder = Encoder(c.encoder, seen, c.z_channels, c.joined) if c.encoder else None
        self.decoder = Decoder(c.decoder, c.z_channels, c.out_channels, c.joined) if c.decoder else None
        self.clip_law = ClipLaw(1, c.temporal_ratio, images_are_clips=True)

    def encode_ops(self) -> Ops:
        return chain(Features(), self.encoder)

    def decode_ops(self) -> Ops:
        return chain(self.decoder)


FAMILY = Family(
    name="mochi",
    title="Mochi's autoencoder",
    detect=detect,
    build=MochiVAE,
    example=MochiConfig(
        z_channels=12,
        encoder=Coder((64, 128, 256, 384), (3, 3, 4, 6, 3), (1, 2, 3), (False, True, True, True, True)),
        decoder=Coder((768, 512, 256, 128), (3, 6, 4, 3, 3), (3, 2, 1), (False,) * 5),
    ),
    layouts=(names.MOCHI, names.MOCHI_DIFFUSERS, *names.HALVES),
    members=(Member("Mochi", 12, 8, 6),),
)
