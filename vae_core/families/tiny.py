"""TAESD and its kin: tiny autoencoders without norms or a posterior, for previews and fast drafts.

TAESD, TAESDXL (4 channels), TAESD3, TAEF1 (16), TAEF2 (32, patchified to 128), TAESANA (32 at 1/32), TAEQI2.1 (64 at
1/16, of images with alpha).
Reference: madebyollin/taesd (MIT) taesd.py, whose layer numbers the parameters bear under `encoder.` and `decoder.`.

Two surprises. The networks see pixels in [0, 1]. And they were trained on *scaled* latents, those the diffusion
model works on: `vae_scale` and `vae_shift` lead from there to the raw latents other VAEs make,
raw = scaled / vae_scale + vae_shift. A file without them is left in its own, scaled, space. TAEQI2.1's have a number
for each channel.
"""

# TAESD's, 64 channels everywhere. Blocks of a level in brackets:
#   encoder   conv 3->64 | (1) / (3) / (3) / (3), halved by strides | conv 64->4
#   decoder   clamp | conv 4->64 | (3) * (3) * (3) * (1), doubled by repeating pixels | conv 64->3
# TAEQI2.1's encoder first trades 2 x 2 pixels for channels, its decoder last trades them back.

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ..latents.conventions import SCALED, scaling_of
from ..latents.spaces import LatentSpace
from ..ops import (
    Affine,
    AnyOp,
    Conv2d,
    Ops,
    PixelShuffle,
    PixelUnshuffle,
    Residual,
    Upsample2x,
    chain,
    relu,
    soft_clamp,
)
from .blocks.base import ConfigJson, Family, Halves, Member, Network, Rounding
from .names import tiny as names
from .shapes import Shapes, count, size, vote

POOL_GROUPS, POOL_WIDTH = 4, 4  # the pool branch widens four times and normalises in four groups
COLOURS = (1, 3, 4)  # channels of an image: grey, RGB, RGB with alpha
SHUFFLE = 2  # TAEQI2.1's


@dataclass(frozen=True)
class Coder:
    """One half. Levels in the order they run."""

    widths: tuple[int, ...]  # channels of each level
    blocks: tuple[int, ...]  # residual blocks of each level
    pool: bool = False  # TAEF2: the blocks of the lowest resolution also see the whole image's statistics
    stem: int | None = None  # TAESANA's encoder: two strided convolutions come first, the first this wide


@dataclass(frozen=True)
class TinyConfig(Halves):
    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    in_channels: int = 3
    out_channels: int = 3
    scaled: int = 0  # numbers that lead to raw latents: none, one for all channels, or one for each
    shuffle: int = 1  # pixels each way that are traded for channels first and last

    @property
    def patch(self) -> int:
        """TAEF2 speaks FLUX.2's latents, which are patchified; its pool branch is what tells it."""
        coder = self.encoder or self.decoder
        return 2 if coder and coder.pool else 1

    @property
    def latent_channels(self) -> int:
        return self.z_channels * self.patch**2

    @property
    def spatial_ratio(self) -> int:
        return super().spatial_ratio * self.patch * self.shuffle * (4 if self.encoder and self.encoder.stem else 1)


def detect(shapes: Shapes) -> TinyConfig | None:
    return None if sees_frames_before(shapes) else read(shapes)


def sees_frames_before(shapes: Shapes) -> bool:
    """TAESDV's decoder has these names too, but its blocks begin with twice their channels."""
    first = [name.removesuffix("0.weight") for name in shapes if name.endswith(".conv.0.weight")]
    ratios = ((size(shapes, f"{at}0.weight", 1), size(shapes, f"{at}2.weight", 1)) for at in first if at[0] == "d")
    return bool(vote(int(wide == 2 * width) + 1 for wide, width in ratios if wide and width) == 2)


def read(shapes: Shapes) -> TinyConfig | None:
    encoder, decoder = _read(shapes, "encoder"), _read(shapes, "decoder")
    halves = {name.partition(".")[0] for name in shapes if name.startswith(("encoder.", "decoder."))}
    found = {"encoder": encoder, "decoder": decoder}
    if not halves or any(found[half] is None for half in halves):
        return None
    first, last = _first_conv(shapes), [count(shapes, f"{half}.") - 1 for half in ("encoder", "decoder")]
    z = vote([size(shapes, "decoder.1.weight", 1), size(shapes, f"encoder.{last[0]}.weight"),
              size(shapes, f"encoder.{last[0]}.bias")])  # fmt: skip
    made = vote(size(shapes, f"decoder.{last[1]}.{t}") for t in ("weight", "bias"))
    read = size(shapes, f"encoder.{first}.weight", 1)
    shuffle = SHUFFLE if first or (made and made not in COLOURS) else 1
    if not z or any(n and n not in [c * shuffle**2 for c in COLOURS] for n in (made, read)):
        return None
    return TinyConfig(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        in_channels=(read or made or 3) // shuffle**2,
        out_channels=(made or read or 3) // shuffle**2,
        scaled=prod(shapes["vae_scale"]) if "vae_scale" in shapes else 0,
        shuffle=shuffle,
    )


def _first_conv(shapes: Shapes) -> int:
    """The number of the encoder's first layer with weights: 1 behind a shuffle of pixels, otherwise 0."""
    return int("encoder.1.weight" in shapes and "encoder.0.weight" not in shapes)


def _read(shapes: Shapes, half: str) -> Coder | None:
    """Walk the layer numbers: runs of residual blocks, with a change of resolution between them."""
    names = {name for name in shapes if name.startswith(f"{half}.")}
    if not names or any(_is_of_clips(name) for name in names):
        return None
    widths, blocks, fresh = [], [], True
    for i in range(1, count(shapes, f"{half}.") - 1):
        width = vote(size(shapes, f"{half}.{i}.conv.{n}.{t}") for n in (0, 2, 4) for t in ("weight", "bias"))
        if width and fresh:
            widths.append(width)
            blocks.append(0)
        if width:
            blocks[-1] += 1
        fresh = not width
    if not blocks:
        return None
    stem = size(shapes, "encoder.0.weight") if half == "encoder" and f"{half}.2.bias" in shapes else None
    return Coder(tuple(widths), tuple(blocks), any(".pool." in name for name in names), stem)


def _is_of_clips(name: str) -> bool:
    """TAEHV resamples time, too: 'encoder.2.conv.weight'."""
    match name.split("."):
        case [_, layer, "conv", "weight"]:
            return layer.isdecimal()
    return False


class Block(nn.Module):
    """Three convolutions around a shortcut. (B, C, H, W) -> same"""

    def __init__(self, c: int, pool: bool):
        super().__init__()
        self.conv = nn.ModuleDict({str(i): Conv2d(c, c) for i in (0, 2, 4)})
        wide = POOL_WIDTH * c
        layers = (Conv2d(c, wide, 1, bias=False), nn.GroupNorm(POOL_GROUPS, wide), Conv2d(wide, c, 1, bias=False))
        self.pool = nn.ModuleDict(dict(zip("013", layers, strict=True))) if pool else None

    def ops(self) -> Ops:
        first, second, third = self.conv.values()
        body = Residual((first, relu, second, relu, third))
        if self.pool is None:
            return (body, relu)
        narrow, group_norm, widen = self.pool.values()
        return (Residual((narrow, group_norm, relu, widen)), body, relu)


MakeBlock = Callable[[int, bool], nn.Module]  # of so many channels, with a pool or without


class Numbered(nn.Module):
    """Layers under their numbers; those between them (activations, upsampling) have a number but no weights."""

    def __init__(self, layers: list[AnyOp | nn.Module]):
        super().__init__()
        self.layers = layers
        for i, layer in enumerate(layers):
            if isinstance(layer, nn.Module) and any(True for _ in layer.parameters()):
                self.add_module(str(i), layer)

    def ops(self) -> Ops:
        return chain(*self.layers)


def encoder(c: Coder, in_channels: int, z_channels: int, shuffle: int) -> Numbered:
    """pixels (B, 3, H, W) in [0, 1] -> z (B, z_channels, h, w)"""
    width = c.widths[0]
    if c.stem:
        layers = [Conv2d(in_channels, c.stem, stride=2), relu, Conv2d(c.stem, width, stride=2), relu]
    elif shuffle > 1:
        layers = [PixelUnshuffle(n=shuffle), Conv2d(in_channels * shuffle**2, width), relu]
    else:
        layers = [Conv2d(in_channels, width)]
    for i, (width, blocks) in enumerate(zip(c.widths, c.blocks, strict=True)):
        if i:
            layers.append(Conv2d(c.widths[i - 1], width, stride=2, bias=False))
        layers += [Block(width, c.pool and i == len(c.widths) - 1) for _ in range(blocks)]
    return Numbered([*layers, Conv2d(width, z_channels)])


def decoder(c: Coder, z_channels: int, out_channels: int, shuffle: int, block: MakeBlock = Block) -> Numbered:
    """z (B, z_channels, h, w) -> pixels (B, 3, H, W) in [0, 1]"""
    width = c.widths[0]
    layers = [soft_clamp, Conv2d(z_channels, width), relu]
    for i, (width, blocks) in enumerate(zip(c.widths, c.blocks, strict=True)):
        if i:
            layers += [Upsample2x(), Conv2d(c.widths[i - 1], width, bias=False)]
        layers += [block(width, c.pool and i == 0) for _ in range(blocks)]
    last = [PixelShuffle(n=shuffle)] if shuffle > 1 else []
    return Numbered([*layers, Conv2d(width, out_channels * shuffle**2), *last])


class TinyAutoencoder(Network):
    gaussian = False
    exact = frozenset({"vae_scale", "vae_shift"})
    vae_scale: Tensor
    vae_shift: Tensor

    def __init__(self, c: TinyConfig):
        super().__init__()
        self.encoder = encoder(c.encoder, c.in_channels, c.z_channels, c.shuffle) if c.encoder else None
        self.decoder = decoder(c.decoder, c.z_channels, c.out_channels, c.shuffle) if c.decoder else None
        self.patch, self.scaled = c.patch, bool(c.scaled)
        if c.scaled:
            shape = (c.scaled, 1, 1) if c.scaled > 1 else ()
            self.register_buffer("vae_scale", torch.ones(shape))
            self.register_buffer("vae_shift", torch.zeros(shape))

    def encode_ops(self) -> Ops:
        return chain(Affine(0.5, 0.5), self.encoder)

    def to_latent_ops(self) -> Ops:
        return chain(self.to_raw if self.scaled else None, nn.PixelUnshuffle(self.patch) if self.patch > 1 else None)

    def from_latent_ops(self) -> Ops:
        return chain(nn.PixelShuffle(self.patch) if self.patch > 1 else None, self.to_scaled if self.scaled else None)

    def decode_ops(self) -> Ops:
        return chain(self.decoder, Affine(2.0, -1.0))

    def to_raw(self, z: Tensor) -> Tensor:
        return z / self.vae_scale.to(z.dtype) + self.vae_shift.to(z.dtype)

    def to_scaled(self, latent: Tensor) -> Tensor:
        return (latent - self.vae_shift.to(latent.dtype)) * self.vae_scale.to(latent.dtype)


def statistics(space: LatentSpace) -> dict[str, Tensor]:
    """scaled = (raw - vae_shift) * vae_scale: one number for all channels, or one for each if the space has them."""
    shift, scale = scaling_of(space, SCALED)
    return {name: t[:, None, None] if space.std else t[0] for name, t in (("vae_scale", scale), ("vae_shift", shift))}


def read_config_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"act_fn": "relu"}


FAMILY = Family(
    name="tiny",
    title="tiny autoencoder (TAESD)",
    detect=detect,
    build=TinyAutoencoder,
    example=TinyConfig(4, Coder((64,) * 4, (1, 3, 3, 3)), Coder((64,) * 4, (3, 3, 3, 1))),
    layouts=(names.TAESD, names.TAESD_DIFFUSERS, names.MODULE, *names.DIFFUSERS_HALVES, *names.MODULE_HALVES),
    config_json=ConfigJson(("AutoencoderTiny",), read_config_json),
    scaling=statistics,
    rounding=Rounding(fits_fp16=True),  # their author runs them so: github.com/madebyollin
    members=(
        Member("TAESD, TAESDXL", 4, 8),
        Member("TAESD3, TAEF1", 16, 8),
        Member("TAEF2", 128, 16),
        Member("TAESANA", 32, 32),
        Member("TAEQI2.1", 64, 16),
    ),
)
