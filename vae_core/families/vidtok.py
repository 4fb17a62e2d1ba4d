"""VidTok's autoencoders of clips: 4 to 16 channels at 1/4 to 1/16, and one latent frame for two, four or eight.

Tang et al. 2024 (https://arxiv.org/abs/2412.13061); reference: microsoft/VidTok (MIT), and diffusers'
AutoencoderVidTok, which has kept the authors' names. It is latent diffusion's autoencoder with residual blocks over
frames alone beside those of images. Norms see single pixels and attention single frames, so a clip is run a few frames
at a time.

Three surprises. A causal network encodes the first frame as so many, and of what is decoded the first ones go. Causal
files of version 1.0 and 1.1 have the same names and shapes, but are run differently (blocks/vidtok.py): Microsoft's
names of files tell them, and any other is taken for 1.1, as diffusers does. And a file whose encoder makes as many
channels as the decoder reads is of finite scalar quantisation (FSQ, https://arxiv.org/abs/2309.15505): its latents are
quantised, which they are no second time when they are decoded.
"""

# vidtok_kl_causal_488_4chn's. Blocks of a level in brackets; / halves, * doubles, t: in time too:
#   encoder   conv_in 3->128 | down 128(2) / 256(2) /t 512(2) /t 512(2) | mid | out 512->8
#   decoder   conv_in 4->512 | mid | up 512(3) * 512(3) *t 256(3) *t 128(3) | out 128->3

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..ops import Ops, chain, silu
from .blocks.base import ClipLaw, ConfigJson, Family, Halves, Member, Network
from .blocks.ldm import read_coder
from .blocks.vidtok import (
    AROUND,
    CONVS,
    NEWER,
    OLDER,
    FramesBefore,
    HalfFrames,
    InSpace,
    InTime,
    Middle,
    Norm,
    TwiceFrames,
    WithoutFirst,
    run_level,
)
from .names import vidtok as names
from .shapes import Shapes, has_unread_half, size, vote

LEVELS = 8  # of each channel that is quantised, in all files that are published
FEWEST_MOMENTS = 8  # those of KL have 8 channels or more, those that are quantised 6 or fewer


@dataclass(frozen=True)
class Coder:
    """One half. Levels are counted from the highest resolution. changes: after each, of pixels and of frames"""

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    changes: tuple[tuple[bool, bool], ...]
    stem: int | None = None  # channels after the encoder's first convolution


@dataclass(frozen=True)
class VidTokConfig(Halves):
    """version: '1.0' or '1.1' of a causal network, '' of another"""

    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    version: str = NEWER
    quantised: bool = False
    in_channels: int = 3
    out_channels: int = 3

    @property
    def spatial_ratio(self) -> int:
        return 2 ** sum(in_space for in_space, _ in self._changes)

    @property
    def temporal_ratio(self) -> int:
        return 2 ** sum(in_time for _, in_time in self._changes)

    @property
    def _changes(self) -> tuple[tuple[bool, bool], ...]:
        coder = self.encoder or self.decoder
        assert coder
        return coder.changes


def detect(shapes: Shapes) -> VidTokConfig | None:
    if not names.is_vidtok(shapes):
        return None
    own = names.as_ldm(shapes)
    encoder, decoder = _read_coder(own, "encoder", "down"), _read_coder(own, "decoder", "up")
    z, quantised = _read_channels(own)
    if not z or has_unread_half(shapes, encoder, decoder) or not (encoder or decoder):
        return None
    return VidTokConfig(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        version=NEWER if names.is_causal(shapes) else AROUND,
        quantised=quantised and encoder is not None,
        in_channels=size(own, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(own, "decoder.conv_out.weight"), size(own, "decoder.conv_out.bias")]) or 3,
    )


def _read_coder(own: Shapes, half: str, side: str) -> Coder | None:
    found = read_coder(own, half, groups=1)
    if not found:
        return None

    def changes(level: str) -> bool:
        return any(name.startswith(f"{half}.{level}.{side}sample.") for name in own)

    each = ((changes(f"{side}.{i}"), changes(f"{side}_temporal.{i}")) for i in range(len(found.widths)))
    return Coder(found.widths, found.num_res_blocks, tuple(each), found.stem)


def _read_channels(own: Shapes) -> tuple[int | None, bool]:
    """Of z, and are they quantised: does the encoder make as many, and no log-variances?"""
    read = size(own, "decoder.conv_in.weight", 1)
    made = [size(own, f"encoder.conv_out.{part}") for part in ("weight", "bias")]
    for n in made:
        if read and n in (read, 2 * read):
            return read, n == read
    n = vote(made)
    if not n:
        return read, False
    moments = n % 2 == 0 and n >= FEWEST_MOMENTS
    return n // 2 if moments else n, not moments


class Encoder(nn.Module):
    """pixels (T, 3, H, W) in [-1, 1] -> moments or z (T', out_channels, h, w)"""

    def __init__(self, c: Coder, version: str, in_channels: int, out_channels: int):
        super().__init__()
        conv, stem, top = CONVS[version], c.stem or c.widths[0], c.widths[-1]
        self.conv_in = conv(in_channels, stem)
        self.down, self.down_temporal = nn.ModuleList(), nn.ModuleList()
        levels = zip((stem, *c.widths[:-1]), c.widths, c.blocks, c.changes, strict=True)
        for c_in, width, blocks, (in_space, in_time) in levels:
            self.down.append(InSpace(c_in, width, blocks, "down" if in_space else None))
            self.down_temporal.append(InTime(width, blocks, version, HalfFrames(width, version) if in_time else None))
        self.mid = Middle(top, version)
        self.norm_out, self.conv_out = Norm(top), conv(top, out_channels)

    def ops(self) -> Ops:
        levels = (op for pair in zip(self.down, self.down_temporal, strict=True) for op in run_level(*pair))
        return chain(self.conv_in, *levels, self.mid, self.norm_out, silu, self.conv_out)


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> pixels (T', 3, H, W) in [-1, 1]. Level 0 is the highest resolution and runs last."""

    def __init__(self, c: Coder, version: str, z_channels: int, out_channels: int):
        super().__init__()
        conv, top = CONVS[version], c.widths[-1]
        self.conv_in, self.mid = conv(z_channels, top), Middle(top, version)
        self.up, self.up_temporal = nn.ModuleList(), nn.ModuleList()
        levels = zip((*c.widths[1:], top), c.widths, c.blocks, c.changes, strict=True)
        for i, (c_in, width, blocks, (in_space, in_time)) in enumerate(levels):
            first = 2 ** sum(doubled for _, doubled in c.changes[i + 1 :])
            self.up.append(InSpace(c_in, width, blocks, "up" if in_space else None))
            change = TwiceFrames(width, version, first) if in_time else None
            self.up_temporal.append(InTime(width, blocks, version, change))
        self.norm_out, self.conv_out = Norm(c.widths[0]), conv(c.widths[0], out_channels)

    def ops(self) -> Ops:
        pairs = reversed(list(zip(self.up, self.up_temporal, strict=True)))
        levels = (op for pair in pairs for op in run_level(*pair))
        return chain(self.conv_in, self.mid, *levels, self.norm_out, silu, self.conv_out)


class VidTokVAE(Network):
    def __init__(self, c: VidTokConfig):
        super().__init__()
        z, self.gaussian, self.version = c.z_channels, not c.quantised, c.version
        made = z if c.quantised else 2 * z
        self.encoder = Encoder(c.encoder, c.version, c.in_channels, made) if c.encoder else None
        self.decoder = Decoder(c.decoder, c.version, z, c.out_channels) if c.decoder else None
        self.frames = c.temporal_ratio
        if c.version:
            self.clip_law = ClipLaw(1, self.frames, images_are_clips=c.version == OLDER)
        else:
            self.clip_law = ClipLaw(self.frames, self.frames, images_are_clips=True, images_join=True)

    def encode_ops(self) -> Ops:
        return chain(FramesBefore(self.frames - 1) if self.version else None, self.encoder)

    def to_latent_ops(self) -> Ops:
        return () if self.gaussian else (quantise,)

    def decode_ops(self) -> Ops:
        return chain(self.decoder, WithoutFirst(self.frames - 1) if self.version else None)


def quantise(z: Tensor) -> Tensor:
    """Each number to the nearest of 8 levels, from -1 to 0.75. z: of any shape and floating dtype -> the same"""
    half, offset = (LEVELS - 1) * (1 + 1e-3) / 2, 0.5  # of an even number of levels, zero is one of them
    bounded = torch.tanh(z + math.atanh(offset / half)) * half - offset
    return bounded.round() / (LEVELS // 2)


def find_version(file: Path) -> str | None:
    """The version of a causal network by Microsoft's name of its file, or None.

    'vidtok_kl_causal_488_4chn.ckpt' -> '1.0', 'vidtok_kl_causal_488_4chn_v1_1.ckpt' -> '1.1'
    """
    found = re.match(r"vidtok_(?:kl|fsq)_causal_\d+_\d+(?:chn)?(_v1_1)?(?!\d)", file.name.lower())
    return (NEWER if found[1] else OLDER) if found else None


def read_config_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """diffusers' own network is quantised in 8 levels, too."""
    quantised = facts.get("regularizer") == "fsq"
    return {"codebook_size": LEVELS ** facts.get("z_channels", 4)} if quantised else {}


_WIDTHS, _KEPT = (128, 256, 512, 512), (False, False)
_DOWN = ((True, False), (True, True), (True, True), _KEPT)

FAMILY = Family(
    name="vidtok",
    title="VidTok's autoencoder",
    detect=detect,
    build=VidTokVAE,
    example=VidTokConfig(
        z_channels=4,
        encoder=Coder(_WIDTHS, (2,) * 4, _DOWN, stem=128),
        decoder=Coder(_WIDTHS, (3,) * 4, (_KEPT, (True, True), (True, True), (True, False))),
    ),
    layouts=(names.VIDTOK_DIFFUSERS, names.VIDTOK),
    config_json=ConfigJson(("AutoencoderVidTok",), read_config_json),
    versions=(OLDER, NEWER),
    find_version=find_version,
    members=(
        Member("VidTok 4x8x8, causal or not, KL or FSQ", 4, 8, 4),
        Member("VidTok 4x4x4", 4, 4, 4),
        Member("VidTok 4x16x16", 16, 16, 4),
        Member("VidTok 8x8x8 (FSQ)", 5, 8, 8),
    ),
)
