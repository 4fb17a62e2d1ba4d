"""Deep Compression Autoencoder: a latent 1/32, 1/64 or 1/128 the size of the image, no posterior.

Sana and DC-AE-Lite (32 channels), DC-AE in-1.0 and mix-1.0 (32, 128, 512), DC-AE 1.5 (128). Chen et al. 2024
(https://arxiv.org/abs/2410.10733); reference: mit-han-lab/efficientvit efficientvit/models/efficientvit/dc_ae.py and
models/nn/ops.py, for the later ones dc-ai-projects/DC-Gen dc_gen/aecore/models/dc_ae.py (Apache-2.0 all). Parameters
bear the names of diffusers' AutoencoderDC.

Two surprises. `up_blocks.0` is the highest resolution and runs last. And every change of resolution has a shortcut
without weights, which moves pixels into channels or back.
"""

# Sana's. Blocks of a stage in brackets; v: EfficientViT blocks, the others are residual blocks:
#   encoder   conv_in 3->128 | down 128(2) 256(2) 512(2) 512(3v) 1024(3v) 1024(3v), halved between | out 1024->32
#   decoder   conv_in 32->1024 | up 1024(3v) 1024(3v) 512(3v) 512(3) 256(3) 128(3), doubled between | out 128->3

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from ..ops import (
    Conv2d,
    MeanChannels,
    Ops,
    PixelShuffle,
    PixelUnshuffle,
    RepeatChannels,
    Residual,
    Upsample2x,
    chain,
    relu,
    silu,
)
from .blocks.base import ConfigJson, Family, Halves, Member, Network, Rounding, Row
from .blocks.efficientvit import HEAD, EfficientViTBlock, ResBlock
from .blocks.norms import RMSNorm
from .names import dc_ae as names
from .shapes import Shapes, count, size, vote

SIDES = {"encoder": "encoder.down_blocks.", "decoder": "decoder.up_blocks."}


STEREO = 2  # channels of mel spectrograms, by which ACE-Step's VAE of sound is told


@dataclass(frozen=True)
class Coder:
    """One half. Stages are counted from the highest resolution."""

    widths: tuple[int, ...]  # channels; 0 for an empty stage, in whose stead the first or last convolution resamples
    blocks: tuple[int, ...]  # of each stage
    attention: tuple[bool, ...]  # are they EfficientViT blocks, or residual blocks?
    batch_norm: tuple[bool, ...]  # of residual blocks: batch norm and ReLU, or RMS norm and SiLU?
    scales: tuple[int, ...]  # sizes of the neighbourhoods that attention sees besides single pixels
    shuffled: bool  # is resampled by moving pixels into channels and back, or by strides and nearest neighbours?
    joined: bool  # are q, k and v one tensor, as in the authors' files?
    head: int = HEAD  # channels of a head of attention; told by the scales' mixtures


@dataclass(frozen=True)
class DCAEConfig(Halves):
    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    in_channels: int = 3
    out_channels: int = 3

    @property
    def has_attention(self) -> bool:
        return any(coder is not None and any(coder.attention) for coder in (self.encoder, self.decoder))

    @property
    def latent_shortcuts(self) -> bool:
        """Does a shortcut bridge the convolutions next to the latent? In all but DC-AE 1.1 and 1.5, which have
        neither attention nor so few channels (DC-Gen dc_ae.py, `out_shortcut` and `in_shortcut`)."""
        return self.has_attention or self.z_channels <= 32


def detect(shapes: Shapes) -> DCAEConfig | None:
    held = {name.partition(".")[0] for name in shapes}
    coders = {half: _coder(shapes, half) for half in SIDES if half in held}
    encoder, decoder = coders.get("encoder"), coders.get("decoder")
    z = vote([size(shapes, "encoder.conv_out.weight"), size(shapes, "encoder.conv_out.bias"),
              size(shapes, "decoder.conv_in.weight", 1)])  # fmt: skip
    if not z or not coders or not all(coders.values()) or len({len(c.widths) for c in coders.values() if c}) > 1:
        return None
    in_channels = vote(size(shapes, f"encoder.conv_in.{name}weight", 1) for name in ("", "conv."))
    config = DCAEConfig(z, encoder, decoder, in_channels or 3, _out_channels(shapes, decoder, in_channels) or 3)
    fits = not config.latent_shortcuts or all(c.widths[-1] % z == 0 for c in coders.values() if c)
    return config if fits and STEREO not in (config.in_channels, config.out_channels) else None


def _out_channels(shapes: Shapes, decoder: Coder | None, in_channels: int | None) -> int | None:
    if decoder is None:
        return None
    conv = "decoder.conv_out" if decoder.widths[0] else "decoder.conv_out.conv"
    made = [size(shapes, f"{conv}.{tensor}") for tensor in ("weight", "bias")]
    several = 4 if decoder.shuffled and not decoder.widths[0] else 1
    return vote([*(n // several if n and n % several == 0 else None for n in made), in_channels])


def _coder(shapes: Shapes, half: str) -> Coder | None:
    side = SIDES[half]
    stages = [_under(shapes, f"{side}{i}.") for i in range(count(shapes, side))]
    last = len(stages) - 1
    widths = tuple(_width(stage) or 0 for stage in stages)
    coder = Coder(
        widths=widths,
        blocks=tuple(max(0, count(stage, "") - (i < last)) for i, stage in enumerate(stages)),
        attention=tuple(any(".attn." in name for name in stage) for stage in stages),
        batch_norm=tuple(half == "decoder" and any(".norm.running_" in name for name in stage) for stage in stages),
        scales=_scales(stages, widths),
        shuffled=_shuffled(stages, widths, half),
        joined=_many(stages, ".attn.qkv.weight") > _many(stages, ".attn.to_q.weight"),
        head=vote(size(stage, name, 1) for stage in stages for name in stage if MIXTURE.search(name)) or HEAD,
    )
    return coder if _looks_2d(stages) and _is_possible(coder) else None


def _under(shapes: Shapes, prefix: str) -> Shapes:
    return {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}


def _many(stages: Iterable[Shapes], ending: str) -> int:
    return sum(name.endswith(ending) for stage in stages for name in stage)


MIXTURE = re.compile(r"\.attn\.to_qkv_multiscale\.\d+\.proj_out\.weight$")  # within a head
WIDE = re.compile(r"\d+\.(?:conv[12]|norm|attn\.norm_out|conv_out\.(?:conv_point|norm))\.(?:weight|bias)$")


def _width(stage: Shapes) -> int | None:
    return vote(size(stage, name) for name in stage if WIDE.match(name))


def _looks_2d(stages: Iterable[Shapes]) -> bool:
    convs = [len(s) for stage in stages for n, s in stage.items() if n.endswith(("conv1.weight", "conv_depth.weight"))]
    return convs.count(4) * 2 > len(convs)


def _scales(stages: Sequence[Shapes], widths: Sequence[int]) -> tuple[int, ...]:
    """The last projection of attention reads one image more for each scale."""
    ratios = [(size(stage, name, 1) or 0) // width - 1 for stage, width in zip(stages, widths, strict=True) if width
              for name in stage if name.endswith(".attn.to_out.weight")]  # fmt: skip
    kernels = (f".attn.to_qkv_multiscale.{i}.proj_in.weight" for i in range(min(vote(ratios) or 0, 8)))
    found = (vote(size(stage, n, 3) for stage in stages for n in stage if n.endswith(kernel)) for kernel in kernels)
    return tuple(kernel or 5 for kernel in found)


def _shuffled(stages: Sequence[Shapes], widths: Sequence[int], half: str) -> bool:
    """By how many channels the convolutions make that change the resolution: a quarter or four times the stage's."""
    up = half == "decoder"
    votes: list[int | None] = []
    for i, stage in enumerate(stages[:-1]):
        target = widths[i] if up else widths[i + 1]
        made = {size(stage, name) for name in stage if re.match(r"\d+\.conv\.(weight|bias)$", name)}
        votes += [n == (4 * target if up else target // 4) for n in made if n]
    return bool(vote(votes))


def _is_possible(c: Coder) -> bool:
    """Only the first stage may be empty; channels split into heads, and into those of the next resolution."""
    first = 1 if c.blocks[:1] == (0,) else 0
    full = c.widths[first:]
    if not full or not all(full) or not all(c.blocks[first:]):
        return False
    heads = all(width % c.head == 0 for width, attention in zip(c.widths, c.attention, strict=True) if attention)
    even = all(4 * wide % narrow == 0 for wide, narrow in pairwise(full))
    quarters = not c.shuffled or all(width % 4 == 0 for width in full)
    return heads and even and quarters and all(scale % 2 and scale < 32 for scale in c.scales)


class Down(nn.Module):
    """(B, c_in, 2H, 2W) -> (B, c_out, H, W)"""

    def __init__(self, c_in: int, c_out: int, shuffled: bool, shortcut: bool = True):
        super().__init__()
        self.conv = Conv2d(c_in, c_out // 4) if shuffled else Conv2d(c_in, c_out, stride=2)
        self.shuffled, self.group = shuffled, 4 * c_in // c_out if shortcut else 0

    def ops(self) -> Ops:
        body = chain(self.conv, PixelUnshuffle() if self.shuffled else None)
        return (Residual(body, (PixelUnshuffle(), MeanChannels(self.group))),) if self.group else body


class Up(nn.Module):
    """(B, c_in, H, W) -> (B, c_out, 2H, 2W)"""

    def __init__(self, c_in: int, c_out: int, shuffled: bool, shortcut: bool = True):
        super().__init__()
        self.conv = Conv2d(c_in, 4 * c_out if shuffled else c_out)
        self.shuffled, self.times = shuffled, 4 * c_out // c_in if shortcut else 0

    def ops(self) -> Ops:
        body = (self.conv, PixelShuffle()) if self.shuffled else (Upsample2x(), self.conv)
        return (Residual(body, (RepeatChannels(self.times), PixelShuffle())),) if self.times else body


def blocks(c: Coder, i: int) -> list[EfficientViTBlock] | list[ResBlock]:
    """Those of stage i."""
    if c.attention[i]:
        return [EfficientViTBlock(c.widths[i], c.scales, c.head, c.joined) for _ in range(c.blocks[i])]
    return [ResBlock(c.widths[i], c.batch_norm[i]) for _ in range(c.blocks[i])]


class Encoder(nn.Module):
    """pixels (B, 3, H, W) in [-1, 1] -> z (B, z_channels, h, w)"""

    def __init__(self, c: Coder, in_channels: int, z_channels: int, shortcut: bool):
        super().__init__()
        first, top = c.widths[0], c.widths[-1]
        self.conv_in = Conv2d(in_channels, first) if first else Down(in_channels, c.widths[1], c.shuffled, False)
        self.down_blocks = nn.ModuleList(
            Row([*blocks(c, i), *([Down(width, following, c.shuffled)] if width and following else [])])
            for i, (width, following) in enumerate(zip(c.widths, (*c.widths[1:], None), strict=True))
        )
        self.conv_out = Conv2d(top, z_channels)
        self.group = top // z_channels if shortcut else 0

    def ops(self) -> Ops:
        end = Residual((self.conv_out,), (MeanChannels(self.group),)) if self.group else self.conv_out
        return chain(self.conv_in, *self.down_blocks, end)


class Decoder(nn.Module):
    """z (B, z_channels, h, w) -> pixels (B, 3, H, W) in [-1, 1]"""

    def __init__(self, c: Coder, z_channels: int, out_channels: int, shortcut: bool):
        super().__init__()
        first, top = c.widths[0], c.widths[-1]
        self.conv_in = Conv2d(z_channels, top)
        self.times = top // z_channels if shortcut else 0
        self.up_blocks = nn.ModuleList(
            Row([*([Up(coarser, width, c.shuffled)] if width and coarser else []), *blocks(c, i)])
            for i, (width, coarser) in enumerate(zip(c.widths, (*c.widths[1:], None), strict=True))
        )
        narrow = first or c.widths[1]
        self.norm_out = RMSNorm(narrow)
        self.act = relu if any(c.attention) else silu  # DC-Gen dc_ae.py: `out_act`
        self.conv_out = Conv2d(narrow, out_channels) if first else Up(narrow, out_channels, c.shuffled, False)

    def ops(self) -> Ops:
        start = Residual((self.conv_in,), (RepeatChannels(self.times),)) if self.times else self.conv_in
        return chain(start, *reversed(self.up_blocks), self.norm_out, self.act, self.conv_out)


class AutoencoderDC(Network):
    gaussian = False

    def __init__(self, c: DCAEConfig):
        super().__init__()
        z, shortcut = c.z_channels, c.latent_shortcuts
        self.encoder = Encoder(c.encoder, c.in_channels, z, shortcut) if c.encoder else None
        self.decoder = Decoder(c.decoder, z, c.out_channels, shortcut) if c.decoder else None

    def encode_ops(self) -> Ops:
        return chain(self.encoder)

    def decode_ops(self) -> Ops:
        return chain(self.decoder)


def is_published(c: DCAEConfig) -> bool:
    """32 channels are Sana's if they come with scales or without attention; 128 and 512 are the authors' first ones."""
    if c.z_channels != 32:
        return c.has_attention
    return not c.has_attention or any(coder is not None and coder.scales for coder in (c.encoder, c.decoder))


_WIDTHS, _VIT = (128, 256, 512, 512, 1024, 1024), (False,) * 3 + (True,) * 3


def read_config_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What this file takes for granted, of networks with these blocks and norms."""
    decoder, encoder = ("EfficientViTBlock" in str(facts.get(f"{half}_block_types")) for half in ("decoder", "encoder"))
    shortcuts = decoder or encoder or facts.get("latent_channels", 32) in range(33)
    norms, acts = (facts.get(f"decoder_{name}") for name in ("norm_types", "act_fns"))
    stages = max(len(each) if isinstance(each, list) else 1 for each in (norms, acts))
    norms, own = (each if isinstance(each, list) else [each] * stages for each in (norms, acts or "silu"))
    usual = ["relu" if norm == "batch_norm" else "silu" for norm in norms]
    told = any(any(facts.get(f"{half}_qkv_multiscales") or ()) for half in ("decoder", "encoder"))
    return {
        "attention_head_dim": facts.get("attention_head_dim", HEAD) if told else HEAD,
        "decoder_act_fns": acts if own == usual else usual,
        "decoder_conv_act_fn": "relu" if decoder else "silu",
        "encoder_out_shortcut": shortcuts,
        "decoder_in_shortcut": shortcuts,
    }


FAMILY = Family(
    name="dc_ae",
    title="Deep Compression Autoencoder (DC-AE)",
    detect=detect,
    build=AutoencoderDC,
    example=DCAEConfig(
        z_channels=32,
        encoder=Coder(_WIDTHS, (2, 2, 2, 3, 3, 3), _VIT, (False,) * 6, (5,), shuffled=False, joined=False),
        decoder=Coder(_WIDTHS, (3,) * 6, _VIT, (False,) * 6, (5,), shuffled=False, joined=False),
    ),
    layouts=(names.DC_AE_DIFFUSERS, names.EFFICIENTVIT, *names.HALVES),
    published=is_published,
    config_json=ConfigJson(("AutoencoderDC",), read_config_json),
    members=(
        Member("Sana, DC-AE-Lite", 32, 32),
        Member("DC-AE f32c32", 32, 32),
        Member("DC-AE f64c128, also of DC-AE 1.5", 128, 64),
        Member("DC-AE f128c512", 512, 128),
    ),
    rounding=Rounding(overflows="Sana's: bf16 or fp32 only (diffusers' documentation of AutoencoderDC)"),
)
