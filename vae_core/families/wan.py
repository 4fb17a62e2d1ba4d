"""The causal autoencoders of clips by Wan: 2.1 (also Qwen-Image's), 2.2, and Qwen-Image-2.1's for images.

Reference: Wan-Video/Wan2.1 wan/modules/vae.py and Wan-Video/Wan2.2 wan/modules/vae2_2.py, whose names the parameters
bear, and diffusers' AutoencoderKLWan and AutoencoderKLQwenImage21. No norm looks beyond a pixel and attention stays in
its frame, so a clip of any length is run a few frames at a time in the same memory.

The surprise: the first frame stands alone. It becomes a latent frame of its own, time convolutions pass it by, and
what comes after sees zeros where it was. So an image is a clip of one frame, and only the last taps in time touch it.
"""

# Wan 2.1's. Blocks of a level in brackets; / halves, * doubles, t: in time too:
#   encoder   conv1 3->96 | down 96(2) / 192(2) /t 384(2) /t 384(2) | middle | head 384->32 | conv1 32->32
#   decoder   conv2 16->16 | conv1 16->384 | middle | up 384(3) *t 384(3) *t 192(3) * 96(3) | head 96->3

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from ..ops import (
    ChannelsToFrames,
    Conv2d,
    Conv3d,
    DoubleFrames,
    FramesToChannels,
    HalveFrames,
    MeanChannels,
    Ops,
    PixelShuffle,
    PixelUnshuffle,
    RepeatChannels,
    Residual,
    Upsample2x,
    chain,
    silu,
)
from .blocks.base import ClipLaw, Family, Halves, Member, Network, Rounding
from .blocks.ldm import halved
from .blocks.wan import AttentionBlock, ResidualBlock, RMSNorm
from .names import wan as names
from .shapes import Shapes, count, has_unread_half, size, vote


@dataclass(frozen=True)
class Level:
    """One resolution: so many residual blocks of so many channels, then perhaps a change of resolution."""

    width: int
    blocks: int
    resampled: bool
    in_time: bool = False  # is the number of frames changed too?


@dataclass(frozen=True)
class WanConfig(Halves):
    """Levels of both halves in the order they run.

    frames    taps in time of the 3 x 3 convolutions; with 1 it is a VAE of images
    residual  are levels bridged by shortcuts without parameters, as in Wan 2.2?
    patch     pixels each way that are traded for channels first and last
    upscale   how much larger than the image that was encoded is what is decoded
    """

    z_channels: int
    encoder: tuple[Level, ...] | None
    decoder: tuple[Level, ...] | None
    frames: int = 3
    residual: bool = False
    patch: int = 1
    in_channels: int = 3
    out_channels: int = 3
    upscale: int = 1

    @property
    def spatial_ratio(self) -> int:
        return self.patch * 2 ** sum(level.resampled for level in self._levels)

    @property
    def decoded_ratio(self) -> int:
        return self.spatial_ratio * self.upscale

    @property
    def temporal_ratio(self) -> int | None:
        return 2 ** sum(level.in_time for level in self._levels) if self.frames > 1 else None

    @property
    def _levels(self) -> tuple[Level, ...]:
        return self.encoder or self.decoder or ()


def detect(shapes: Shapes) -> WanConfig | None:
    encoder, decoder = _levels(shapes, "encoder", "downsamples"), _levels(shapes, "decoder", "upsamples")
    z = vote([size(shapes, "decoder.conv1.weight", 1), size(shapes, "conv2.weight"), *halved(shapes, "encoder.head.2")])
    frames = _taps(shapes)
    if not z or has_unread_half(shapes, encoder, decoder) or not (encoder or decoder) or frames not in (1, 3):
        return None
    residual = any(
        re.match(r"(?:encoder\.down|decoder\.up)samples\.\d+\.(?:down|up)samples\.", name) for name in shapes
    )
    seen, made = size(shapes, "encoder.conv1.weight", 1), vote([size(shapes, f"decoder.head.2.{p}") for p in _BOTH])
    patch = 2 if residual and (seen or made or 0) > 4 else 1
    upscale = 1 if residual or not made or made <= 4 else math.isqrt(made // 3)
    return WanConfig(z, encoder, decoder, frames, residual, patch, (seen or 3 * patch**2) // patch**2,
                     (made or 3 * patch**2) // patch**2 // upscale**2, upscale)  # fmt: skip


_BOTH = ("weight", "bias")
_CONV = re.compile(r"\.residual\.[26]\.weight$")


def _taps(shapes: Shapes) -> int | None:
    """Of the convolutions in residual blocks, in time."""
    return vote(shape[2] for name, shape in shapes.items() if len(shape) == 5 and _CONV.search(name))


def _levels(shapes: Shapes, half: str, side: str) -> tuple[Level, ...] | None:
    """The levels of a half; None if it is not there, or of another kind."""
    if not any(name.startswith(f"{half}.middle.1.to_qkv.") for name in shapes):
        return None
    found: list[Level] = []
    width, blocks = None, 0
    for item in _numbered(shapes, f"{half}.{side}."):
        if any(name.startswith(f"{item}resample.") for name in shapes):
            if not width:
                return None
            found.append(Level(width, blocks, True, any(name.startswith(f"{item}time_conv.") for name in shapes)))
            width, blocks = None, 0
        else:
            own = vote(size(shapes, item + tensor) for tensor in _WIDTHS)
            width, blocks = (width or own) if blocks else own, blocks + 1
    return (*found, Level(width, blocks, False)) if width else None


_WIDTHS = ("residual.2.weight", "residual.2.bias", "residual.3.gamma", "residual.6.weight", "residual.6.bias")


def _numbered(shapes: Shapes, prefix: str) -> Iterator[str]:
    """Blocks and changes of resolution in the order they run, numbered in one row or within levels (Wan 2.2)."""
    inner = prefix.split(".")[1]
    for i in range(count(shapes, prefix)):
        nested = count(shapes, f"{prefix}{i}.{inner}.")
        yield from (f"{prefix}{i}.{inner}.{j}." for j in range(nested)) if nested else (f"{prefix}{i}.",)


class Resample(nn.Module):
    """Half or twice the rows and columns; in time too if there is a time convolution."""

    def __init__(self, c: int, c_out: int, up: bool, in_time: bool, frames: int):
        super().__init__()
        self.up = up
        self.resample = nn.ModuleDict({"1": Conv2d(c, c_out) if up else Conv2d(c, c_out, stride=2, pad=(0, 1))})
        self.time_conv = (DoubleFrames if up else HalveFrames)(c, frames) if in_time else None

    def ops(self) -> Ops:
        conv = self.resample["1"]
        return chain(self.time_conv, Upsample2x(), conv) if self.up else chain(conv, self.time_conv)


class Bridged(nn.Module):
    """A level of Wan 2.2. Beside it, unless it is the decoder's last, is a shortcut without parameters."""

    def __init__(self, items: nn.ModuleList, up: bool, skip: Ops | None):
        super().__init__()
        self.upsamples, self.downsamples = (items, None) if up else (None, items)
        self.skip = skip

    def ops(self) -> Ops:
        body = chain(*(self.upsamples or self.downsamples or ()))
        return body if self.skip is None else (Residual(body, self.skip),)


def _skip(level: Level, c_in: int, up: bool) -> Ops | None:
    """Pixels and frames are traded for channels, and channels that are too many averaged, those too few repeated."""
    frames, c = 2 if level.in_time else 1, level.width
    traded = frames * (4 if level.resampled else 1)
    if not up:
        group = c_in * traded // c
        return chain(FramesToChannels(2) if level.in_time else None, PixelUnshuffle() if level.resampled else None,
                     MeanChannels(group) if group > 1 else None)  # fmt: skip
    if not level.resampled:
        return None
    return chain(RepeatChannels(c * traded // c_in), PixelShuffle(), ChannelsToFrames(2) if level.in_time else None)


def _items(levels: tuple[Level, ...], c: WanConfig, up: bool) -> nn.ModuleList:
    """Of all levels, numbered in one row or, in Wan 2.2, within levels."""
    width, made = levels[0].width, nn.ModuleList()
    for level in levels:
        c_in, items = width, nn.ModuleList()
        for i in range(level.blocks):
            items.append(ResidualBlock(c_in if i == 0 else level.width, level.width, c.frames))
        width = level.width // (2 if up and level.resampled and not c.residual else 1)
        if level.resampled:
            items.append(Resample(level.width, width, up, level.in_time, c.frames))
        made.extend([Bridged(items, up, _skip(level, c_in, up))] if c.residual else items)
    return made


def _middle(c: int, frames: int) -> nn.ModuleList:
    return nn.ModuleList([ResidualBlock(c, c, frames), AttentionBlock(c), ResidualBlock(c, c, frames)])


class Encoder(nn.Module):
    """pixels (T, in_channels, H, W) -> (T', 2 * z_channels, h, w)"""

    def __init__(self, levels: tuple[Level, ...], c: WanConfig):
        super().__init__()
        kernel, top = (c.frames, 3, 3), levels[-1].width
        self.conv1 = Conv3d(c.in_channels * c.patch**2, levels[0].width, kernel)
        self.downsamples = _items(levels, c, up=False)
        self.middle = _middle(top, c.frames)
        self.head = nn.ModuleDict({"0": RMSNorm(top), "2": Conv3d(top, 2 * c.z_channels, kernel)})

    def ops(self) -> Ops:
        return chain(self.conv1, *self.downsamples, *self.middle, self.head["0"], silu, self.head["2"])


class Decoder(nn.Module):
    """(T, z_channels, h, w) -> pixels (T', out_channels, H, W)"""

    def __init__(self, levels: tuple[Level, ...], c: WanConfig):
        super().__init__()
        kernel, top, last = (c.frames, 3, 3), levels[0].width, levels[-1].width
        self.conv1 = Conv3d(c.z_channels, top, kernel)
        self.middle = _middle(top, c.frames)
        self.upsamples = _items(levels, c, up=True)
        traded = (c.patch * c.upscale) ** 2
        self.head = nn.ModuleDict({"0": RMSNorm(last), "2": Conv3d(last, c.out_channels * traded, kernel)})

    def ops(self) -> Ops:
        return chain(self.conv1, *self.middle, *self.upsamples, self.head["0"], silu, self.head["2"])


class WanVAE(Network):
    def __init__(self, c: WanConfig):
        super().__init__()
        self.patch, self.upscale = c.patch, c.upscale
        self.clip_law = ClipLaw(1, c.temporal_ratio) if c.temporal_ratio else None
        self.encoder = Encoder(c.encoder, c) if c.encoder else None
        self.decoder = Decoder(c.decoder, c) if c.decoder else None
        self.conv1 = Conv3d(2 * c.z_channels, 2 * c.z_channels, 1) if c.encoder else None
        self.conv2 = Conv3d(c.z_channels, c.z_channels, 1) if c.decoder else None

    def encode_ops(self) -> Ops:
        return chain(PixelUnshuffle("cxy") if self.patch > 1 else None, self.encoder, self.conv1)

    def decode_ops(self) -> Ops:
        """What an enlarging decoder makes is shuffled in torch's order, patches in Wan's own."""
        shuffled = PixelShuffle("cxy") if self.patch > 1 else PixelShuffle() if self.upscale > 1 else None
        return chain(self.conv2, self.decoder, shuffled)


def _published(widths: tuple[int, ...], blocks: int, in_time: tuple[bool, ...]) -> tuple[Level, ...]:
    last = len(widths) - 1
    return tuple(Level(w, blocks, i < last, i < last and in_time[i]) for i, w in enumerate(widths))


FAMILY = Family(
    name="wan",
    title="Wan's causal autoencoder",
    detect=detect,
    build=WanVAE,
    example=WanConfig(
        z_channels=16,
        encoder=_published((96, 192, 384, 384), 2, (False, True, True)),
        decoder=_published((384, 384, 192, 96), 3, (True, True, False)),
    ),
    layouts=(names.WAN_DIFFUSERS, names.WAN),
    members=(
        Member(
            "Wan 2.1, Qwen-Image, Qwen-Image-Edit, Qwen-Image-Layered, Wan 2.1's decoder that doubles the size",
            16,
            8,
            4,
        ),
        Member("Wan 2.2", 48, 16, 4),
        Member("Qwen-Image-2.1", 64, 16),
    ),
    rounding=Rounding(
        overflows="black or grey images (forge-classic #1325); fp32 is recommended (diffusers' documentation of Wan)"
    ),
)
