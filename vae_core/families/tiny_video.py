"""TAEHV and its kin: tiny causal autoencoders of clips, without norms or a posterior.

TAEM1 (12 channels), TAEHV, TAEW2.1, TAECVX, TAEOS1.3 (16), TAEH3 (24), TAEHV1.5 (32), TAEW2.2 (48), TAELTX-2 and 2.3
(128), and those with a larger decoder, 'super' or 'wide'. Reference: madebyollin/taehv and taem1 (MIT) taehv.py,
taem1.py, whose layer numbers the parameters bear.
Every block sees the frame before its own; before the first are zeros. So a clip is run a few frames at a time.

Surprises. The networks see pixels in [0, 1], and scaled latents, those the diffusion model works on (see `tiny`). A
latent frame is made of the last t frames that it stands for, the first one of t too; but decoded, it gives one frame
first, and t of every later latent frame. An image, a clip of one frame, is encoded as t of the same.

TAEH3's encoder forgets all after 17 frames, and sees three black ones before the next. Its decoder forgets nothing, but
of every five latent frames it gives 17.
"""

# TAEHV's. Blocks of a level in brackets; / halves, * doubles, t: in time too:
#   encoder   conv 3->64 | /t 64(3) /t 64(3) / 64(3) | conv 64->16
#   decoder   clamp | conv 16->256 | 256(3) * 128(3) *t 64(3) *t | conv 64->3
# TAEM1's makes one frame of three, then of two, and on the way back two of one, then three.

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import isqrt, prod

import torch
from torch import Tensor
from torch.nn import functional as F

from ..latents.conventions import SCALED, scaling_of
from ..latents.spaces import LatentSpace
from ..ops import (
    Activation,
    Affine,
    AnyOp,
    Conv2d,
    Ops,
    PixelShuffle,
    PixelUnshuffle,
    chain,
    relu,
    soft_clamp,
)
from .blocks.base import ClipLaw, Family, Halves, Member, Network, Rounding
from .blocks.clip_law import MINIMAX_H3
from .blocks.tiny_frames import BesideBefore, DropFirst, FramesOfImage, LeadIn
from .blocks.tiny_video import WIDE_GROUPED, MemBlock, SuperMemBlock, TGrow, TPool, UpConv, WideMemBlock
from .names import keep_names
from .names import tiny as names
from .shapes import Shapes, count, size, vote
from .tiny import Numbered

COLOURS = 3
STEPS = (2, TAEM1_STEP := 3)  # frames that become one
# TAEH3 is told by its channels. Its clips have 17 n + 5 frames, of which it makes 5 n + 2 latents.
H3_CHANNELS, H3 = 24, MINIMAX_H3


@dataclass(frozen=True)
class Level:
    """One resolution: so many blocks of so many channels. step: frames that become one beside it, or one becomes."""

    width: int
    blocks: int
    step: int = 1


@dataclass(frozen=True)
class Coder:
    """One half. Levels in the order they run."""

    levels: tuple[Level, ...]
    outer: int  # channels where pixels are: of the encoder's first convolution, and before the decoder's last
    superior: bool = False  # the 'super' decoder: depthwise convolutions, and pixels shuffled instead of doubled
    group: int = 0  # the 'wide' decoder: its convolutions over pixels see so many channels each; 0: it is none

    @property
    def frames(self) -> int:
        """Of a clip to one of its latent."""
        return prod(level.step for level in self.levels)


@dataclass(frozen=True)
class TinyVideoConfig(Halves):
    """patch: pixels each way that are traded for channels first and last.

    light    LightX2V's networks of the same shapes: leaky ReLUs, and pixels in [-1, 1]. Nothing in a file tells them.
    scaled   how many numbers lead to raw latents: none, or one for each channel
    """

    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    patch: int = 1
    light: bool = False
    scaled: int = 0
    in_channels: int = COLOURS
    out_channels: int = COLOURS

    @property
    def spatial_ratio(self) -> int:
        return self.patch * 2 ** len(self._half.levels)

    @property
    def temporal_ratio(self) -> int | None:
        return self.frames

    @property
    def frames(self) -> int:
        return self._half.frames

    @property
    def _half(self) -> Coder:
        half = self.encoder or self.decoder
        assert half
        return half

    @property
    def in_chunks(self) -> bool:
        return self.z_channels == H3_CHANNELS


def detect(shapes: Shapes) -> TinyVideoConfig | None:
    encoder, decoder = _agree(_read(shapes, "encoder"), _read(shapes, "decoder"))
    for half, found in (("encoder", encoder), ("decoder", decoder)):
        if not found and any(name.startswith(f"{half}.") for name in shapes):
            return None
    last = {half: f"{half}.{count(shapes, f'{half}.') - 1}" for half in ("encoder", "decoder")}
    z = vote([size(shapes, f"decoder.{0 if decoder and decoder.superior else 1}.weight", 1),
              *(size(shapes, f"{last['encoder']}.{t}") for t in _BOTH)])  # fmt: skip
    traded = vote([size(shapes, "encoder.0.weight", 1), *(size(shapes, f"{last['decoder']}.{t}") for t in _BOTH)])
    if not z or not traded or not (encoder or decoder):
        return None
    return TinyVideoConfig(
        z, encoder, decoder, max(1, isqrt(traded // COLOURS)), scaled=z if "vae_scale" in shapes else 0
    )


_BOTH = ("weight", "bias")
_IN_TIME = re.compile(r"(?:en|de)coder\.\d+\.conv\.weight$")
_BLOCK = re.compile(r"\.conv\.\d+\.(?:weight|bias)$")


def _read(shapes: Shapes, half: str) -> Coder | None:
    """Walk the layer numbers: runs of blocks, with changes of resolution, and of time, before or after them."""
    own = {name: shape for name, shape in shapes.items() if name.startswith(f"{half}.")}
    if not any(map(_IN_TIME.match, own)):
        return None
    superior = any(f".conv.{i}." in name for name in own for i in (1, 3))
    runs = list(_runs(own, half))
    time = [-2] * len(runs) if half == "encoder" else [blocks + (3 if superior else 1) for _, blocks in runs]
    levels = [
        Level(width, blocks, _step(own, f"{half}.{first + at}.conv.weight"))
        for (first, blocks), at in zip(runs, time, strict=True)
        if (width := _width(own, half, first, blocks, superior))
    ]
    outer = vote(size(own, name, axis) for name, axis in _outer(count(own, f"{half}.") - 1))
    group = _group(own, half, runs)
    if not outer or not levels or len(levels) < len(runs) or any(group and level.width % group for level in levels):
        return None
    return Coder(tuple(levels), outer, superior, group)


def _agree(encoder: Coder | None, decoder: Coder | None) -> tuple[Coder | None, Coder | None]:
    """Steps of three that only one half has are a misshapen tensor of it."""
    halves = [half for half in (encoder, decoder) if half]
    if len({any(level.step == TAEM1_STEP for level in half.levels) for half in halves}) < 2:
        return encoder, decoder
    plain = [tuple(replace(one, step=one.step % TAEM1_STEP or 1) for one in half.levels) for half in halves]
    first, second = (replace(half, levels=levels) for half, levels in zip(halves, plain, strict=True))
    return first, second


def _outer(last: int) -> tuple[tuple[str, int], ...]:
    """The tensors, and axes of them, that say how many channels there are where pixels are. last: layer of a half"""
    return (("encoder.0.weight", 0), ("encoder.0.bias", 0), ("encoder.2.conv.weight", 0), ("encoder.3.weight", 1),
            (f"decoder.{last}.weight", 1), (f"decoder.{last - 2}.weight", 0), (f"decoder.{last - 1}.conv.weight", 1)
            )  # fmt: skip


def _runs(own: Shapes, half: str) -> Iterator[tuple[int, int]]:
    """(the number of the first block, how many follow one another)"""
    blocks = {int(name.split(".")[1]) for name in own if _BLOCK.search(name) and name.split(".")[1].isdecimal()}
    numbered = [i in blocks for i in range(count(own, f"{half}."))] + [False]
    first = None
    for i, is_block in enumerate(numbered):
        if is_block and first is None:
            first = i
        elif not is_block and first is not None:
            yield first, i - first
            first = None


def _width(own: Shapes, half: str, first: int, blocks: int, superior: bool) -> int | None:
    tensors = ("3.weight",) if superior else tuple(f"{n}.{t}" for n in (0, 2, 4, 6) for t in _BOTH)
    return vote(size(own, f"{half}.{first + i}.conv.{t}") for i in range(blocks) for t in tensors)


def _group(own: Shapes, half: str, runs: list[tuple[int, int]]) -> int:
    """Of the wide decoder, which alone has a fourth convolution in a block; of others 0."""
    if not any(f".conv.{WIDE_GROUPED[-1]}." in name for name in own):
        return 0
    blocks = (first + i for first, number in runs for i in range(number))
    return vote(size(own, f"{half}.{i}.conv.{n}.weight", 1) for i in blocks for n in WIDE_GROUPED) or 0


def _step(own: Shapes, name: str) -> int:
    """Two or three times as many channels on one side: it is of as many frames."""
    shape = own.get(name, ())
    return next((n for n in STEPS if len(shape) > 1 and max(shape[:2]) == n * min(shape[:2])), 1)


leaky_relu = Activation(partial(F.leaky_relu, negative_slope=0.2), "leaky_relu")


def encoder(c: TinyVideoConfig, half: Coder, act: AnyOp) -> Numbered:
    """pixels (T, C, H, W), patches traded -> z (T / t, z_channels, h, w)"""
    layers: list = [Conv2d(COLOURS * c.patch**2, half.outer), act]
    width, frames = half.outer, half.frames
    for level in half.levels:
        frames //= level.step
        layers += [TPool(width, level.step), Conv2d(width, level.width, stride=2, bias=False)]
        chunk = (H3.next_latents * frames, H3.first_latents * frames) if c.in_chunks else (0, 0)
        layers += [MemBlock(level.width, BesideBefore(frames, *chunk), act) for _ in range(level.blocks)]
        width = level.width
    return Numbered([*layers, Conv2d(width, c.z_channels)])


def decoder(c: TinyVideoConfig, half: Coder, act: AnyOp) -> Numbered:
    """z (T, z_channels, h, w) -> pixels (t T - t + 1, C, H, W), patches traded

    No block follows the last TGrow, so frames that are not wanted can go there. Those of chunks go last: how many there
    are of a part depends on its place in the clip, and a plan must not.
    """
    first = half.levels[0].width
    layers: list = [Conv2d(c.z_channels, first, 1, bias=False)] if half.superior else [
        soft_clamp, Conv2d(c.z_channels, first), act]  # fmt: skip
    frames, last = 1, len(half.levels) - 1
    drop = DropFirst(half.frames - 1, H3.next_latents * half.frames if c.in_chunks else 0)
    block = SuperMemBlock if half.superior else partial(WideMemBlock, group=half.group) if half.group else MemBlock
    for i, level in enumerate(half.levels):
        c_out = half.outer if i == last else half.levels[i + 1].width
        layers += [block(level.width, BesideBefore(frames), act) for _ in range(level.blocks)]
        frames *= level.step
        dropped = drop if i == last and not c.in_chunks else None
        if half.superior:
            layers += [Conv2d(level.width, 4 * c_out), act, PixelShuffle(), TGrow(c_out, level.step, dropped)]
        else:
            layers += [None, TGrow(level.width, level.step, dropped), UpConv(level.width, c_out, bias=False)]
    end = [Conv2d(half.outer, COLOURS * c.patch**2), drop if c.in_chunks else None]
    return Numbered([*layers, *([] if half.superior else [act]), *end])


class TinyVideoAutoencoder(Network):
    gaussian = False
    exact = frozenset({"vae_scale", "vae_shift"})
    vae_scale: Tensor
    vae_shift: Tensor

    def __init__(self, c: TinyVideoConfig):
        super().__init__()
        act = leaky_relu if c.light else relu
        self.encoder = encoder(c, c.encoder, act) if c.encoder else None
        self.decoder = decoder(c, c.decoder, act) if c.decoder else None
        self.patch, self.light, self.scaled, self.in_chunks = c.patch, c.light, c.scaled, c.in_chunks
        self.frames = c.frames
        self.clip_law = H3 if c.in_chunks else ClipLaw(c.frames, c.frames)
        if c.scaled:
            self.register_buffer("vae_scale", torch.ones(c.z_channels))
            self.register_buffer("vae_shift", torch.zeros(c.z_channels))

    def encode_ops(self) -> Ops:
        lead = LeadIn(self.frames - 1, H3.step, H3.first) if self.in_chunks else FramesOfImage(self.frames)
        traded = PixelUnshuffle(n=self.patch) if self.patch > 1 else None
        return chain(None if self.light else Affine(0.5, 0.5), lead, traded, self.encoder)

    def to_latent_ops(self) -> Ops:
        return (self.to_raw,) if self.scaled else ()

    def from_latent_ops(self) -> Ops:
        return (self.to_scaled,) if self.scaled else ()

    def decode_ops(self) -> Ops:
        traded = PixelShuffle(n=self.patch) if self.patch > 1 else None
        return chain(self.decoder, traded, None if self.light else Affine(2.0, -1.0))

    def to_raw(self, z: Tensor) -> Tensor:
        return z / _along(self.vae_scale, z) + _along(self.vae_shift, z)

    def to_scaled(self, latent: Tensor) -> Tensor:
        return (latent - _along(self.vae_shift, latent)) * _along(self.vae_scale, latent)


def _along(statistics: Tensor, z: Tensor) -> Tensor:
    """Of channels, which are dim 1 of images and of clips."""
    return statistics.to(z.dtype).view(-1, *(1,) * (z.ndim - 2))


def _published(widths: tuple[int, ...], steps: tuple[int, ...]) -> Coder:
    return Coder(tuple(Level(w, 3, step) for w, step in zip(widths, steps, strict=True)), 64)


def statistics(space: LatentSpace) -> dict[str, Tensor]:
    """A number for each channel: scaled = (raw - vae_shift) * vae_scale."""
    shift, scale = scaling_of(space, SCALED)
    return {"vae_scale": scale, "vae_shift": shift}


FAMILY = Family(
    name="tiny_video",
    title="tiny autoencoder of clips (TAEHV)",
    detect=detect,
    build=TinyVideoAutoencoder,
    example=TinyVideoConfig(16, _published((64,) * 3, (2, 2, 1)), _published((256, 128, 64), (1, 2, 2))),
    layouts=(names.MODULE._replace(write=keep_names), *names.MODULE_HALVES),
    scaling=statistics,
    rounding=Rounding(fits_fp16=True),  # their author runs them so: github.com/madebyollin
    light=True,
    members=(
        Member("TAEM1", 12, 8, 6),
        Member("TAEHV, TAEW2.1, TAECVX, TAEOS1.3", 16, 8, 4),
        Member("TAEH3", 24, 16, 4),
        Member("TAEHV1.5, also the super variant", 32, 16, 4),
        Member("TAEW2.2, also the super variant", 48, 16, 4),
        Member("TAELTX-2, TAELTX-2.3, also the wide variant", 128, 32, 8),
    ),
)
