"""CogVideoX's autoencoder of clips: 16 channels at 1/8, and one latent frame for four.

Yang et al. 2024 (https://arxiv.org/abs/2408.06072); reference: diffusers' AutoencoderKLCogVideoX. It is latent
diffusion's autoencoder with convolutions over frames and the decoder's norms of MoVQ, which look at z; the parameters
bear CompVis' names. Before the first frame is that frame again, beyond the borders of an image are zeros.

The surprise: the model is defined by how it is run, and programs differ in that. Here it is run as diffusers runs it,
eight frames or two latent frames at a time, and what is over joins the first part. The norms see all frames of a part
together. So a clip has 8 n + 1 frames; of an even number of latent frames, which no clip has, four are made of each.
"""

# CogVideoX's. Blocks of a level in brackets; / halves, * doubles, t: in time too:
#   encoder   conv_in 3->128 | down 128(3) /t 256(3) /t 256(3) / 512(3) | mid | out 512->32
#   decoder   conv_in 16->512 | mid | up 512(4) *t 256(4) *t 256(4) * 128(4) | out 128->3

from dataclasses import dataclass
from functools import partial

from torch import nn

from ..ops import (
    Conv2d,
    Conv3d,
    GroupNormOverFrames,
    MeanFrames,
    Ops,
    RepeatFrames,
    SideInput,
    Upsample2x,
    chain,
    plus,
    silu,
    times,
)
from .blocks.base import ClipLaw, Family, Halves, Member, Network
from .blocks.ldm import GROUPS, Coder, halved, read_coder, without_spatial_norms
from .blocks.ldm_3d import Kit, Middle, ResnetBlock, unwrapped
from .names import cogvideox as names
from .shapes import Shapes, count, has_unread_half, size, vote

IN_TIME = 2  # changes of resolution that change the number of frames: the first of each half (diffusers' default)


@dataclass(frozen=True)
class CogVideoXConfig(Halves):
    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    in_channels: int = 3
    out_channels: int = 3

    @property
    def temporal_ratio(self) -> int:
        coder = self.encoder or self.decoder
        assert coder
        return 2 ** min(IN_TIME, len(coder.widths) - 1)


def detect(shapes: Shapes) -> CogVideoXConfig | None:
    if not _is_wrapped(shapes):
        return None
    own, looks_at_z = without_spatial_norms(_unwrapped(shapes))
    encoder, decoder = read_coder(own, "encoder"), read_coder(own, "decoder")
    z = vote([size(own, "decoder.conv_in.weight", 1), *halved(own, "encoder.conv_out")])
    if not z or has_unread_half(shapes, encoder, decoder and looks_at_z) or not (encoder or decoder):
        return None
    return CogVideoXConfig(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        in_channels=size(own, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(own, "decoder.conv_out.weight"), size(own, "decoder.conv_out.bias")]) or 3,
    )


def _is_wrapped(shapes: Shapes) -> bool:
    """Are convolutions over frames wrapped, those that change the resolution of images, and norms group norms?"""
    wrapped = sum(name.endswith((".conv1.conv.weight", ".conv2.conv.weight")) for name in shapes)
    bare = sum(name.endswith((".conv1.weight", ".conv2.weight")) for name in shapes)
    changes = [len(shape) for name, shape in shapes.items() if name.endswith("sample.conv.weight")]
    rms = any(name.endswith(".gamma") for name in shapes)
    levels = count(shapes, "encoder.down."), count(shapes, "decoder.up.")
    return wrapped > bare and any(levels) and changes.count(4) * 2 > len(changes) and not rms


def _unwrapped(shapes: Shapes) -> Shapes:
    """Under the names of latent diffusion, whose changes of resolution are named as wrapped convolutions here are."""
    found = unwrapped(shapes)
    return {name.replace("sample.", "sample.conv.") if "sample." in name else name: s for name, s in found.items()}


class Wrapped(nn.Module):
    """A convolution over frames to its own."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3):
        super().__init__()
        self.conv = Conv3d(c_in, c_out, kernel, repeats=True, border="constant")

    def ops(self) -> Ops:
        return self.conv.ops()


def conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Module:
    """What is in a residual block: its shortcut is not wrapped."""
    return Wrapped(c_in, c_out) if kernel > 1 else Conv3d(c_in, c_out, 1)


def norm(c: int) -> GroupNormOverFrames:
    return GroupNormOverFrames(GROUPS, c, eps=1e-6)


class SpatialNorm(nn.Module):
    """A group norm, then scale and shift at every pixel from z, doubled to the size and number of the frames."""

    def __init__(self, z: int, doublings: int, in_time: int, c: int):
        super().__init__()
        self.norm_layer = norm(c)
        self.conv_y, self.conv_b = Wrapped(z, c, 1), Wrapped(z, c, 1)
        self.doublings, self.in_time = doublings, in_time

    def ops(self) -> Ops:
        y, b = ((*one.ops(), *self._enlarge()) for one in (self.conv_y, self.conv_b))
        return (self.norm_layer, SideInput(y, times), SideInput(b, plus))

    def _enlarge(self) -> Ops:
        """A 1x1 convolution and repeated pixels change places: it reads z before it is enlarged."""
        frames = (RepeatFrames(by_parity=True) for _ in range(self.in_time))
        return (*frames, *(Upsample2x() for _ in range(self.doublings)))


class Change(nn.Module):
    """Of the resolution, and perhaps of the number of frames."""

    def __init__(self, c: int, larger: bool, in_time: bool):
        super().__init__()
        self.conv = Conv2d(c, c, 3) if larger else Conv2d(c, c, 3, stride=2, pad=(0, 1))
        self.larger, self.in_time = larger, in_time

    def ops(self) -> Ops:
        if self.larger:
            return chain(RepeatFrames(by_parity=True) if self.in_time else None, Upsample2x(), self.conv)
        return chain(MeanFrames() if self.in_time else None, self.conv)


class Level(nn.Module):
    """One resolution: residual blocks, then perhaps a change of resolution."""

    def __init__(self, c_in: int, c: int, blocks: int, kit: Kit, change: Change | None):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c_in if i == 0 else c, c, kit) for i in range(blocks))
        self.downsample = change if change and not change.larger else None
        self.upsample = change if change and change.larger else None

    def ops(self) -> Ops:
        return chain(*self.block, self.downsample, self.upsample)


class Encoder(nn.Module):
    """pixels (T, 3, H, W) in [-1, 1] -> moments (T', 2 * z_channels, h, w)"""

    def __init__(self, c: Coder, in_channels: int, z: int):
        super().__init__()
        kit, top, stem = Kit(conv, norm, causal=True), c.widths[-1], c.stem or c.widths[0]
        self.conv_in = Wrapped(in_channels, stem)
        changes = [Change(width, False, i < IN_TIME) for i, width in enumerate(c.widths[:-1])]
        levels = zip((stem, *c.widths[:-1]), c.widths, c.num_res_blocks, (*changes, None), strict=True)
        self.down = nn.ModuleList(Level(a, b, n, kit, change) for a, b, n, change in levels)
        self.mid = Middle(top, False, kit)
        self.norm_out, self.conv_out = norm(top), Wrapped(top, 2 * z)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.down, self.mid, self.norm_out, silu, self.conv_out)


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> pixels (T', 3, H, W) in [-1, 1]. Level 0 is the highest resolution and runs last."""

    def __init__(self, c: Coder, z: int, out_channels: int):
        super().__init__()
        top, last = c.widths[-1], len(c.widths) - 1
        kits = [Kit(conv, partial(SpatialNorm, z, n, min(n, IN_TIME)), causal=True) for n in range(last + 1)]
        self.conv_in = Wrapped(z, top)
        self.mid = Middle(top, False, kits[0])
        changes = [None, *(Change(width, True, last - i < IN_TIME) for i, width in enumerate(c.widths) if i)]
        levels = zip((*c.widths[1:], top), c.widths, c.num_res_blocks, reversed(kits), changes, strict=True)
        self.up = nn.ModuleList(Level(*level) for level in levels)
        self.norm_out, self.conv_out = kits[last].norm(c.widths[0]), Wrapped(c.widths[0], out_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, self.mid, *reversed(self.up), self.norm_out, silu, self.conv_out)


class CogVideoXVAE(Network):
    def __init__(self, c: CogVideoXConfig):
        super().__init__()
        self.encoder = Encoder(c.encoder, c.in_channels, c.z_channels) if c.encoder else None
        self.decoder = Decoder(c.decoder, c.z_channels, c.out_channels) if c.decoder else None
        self.clip_law = ClipLaw(1, 2 * c.temporal_ratio, next_latents=2, one_by_one=True)

    def encode_ops(self) -> Ops:
        return chain(self.encoder)

    def decode_ops(self) -> Ops:
        return chain(self.decoder)


_WIDTHS, _LEVELS = (128, 256, 256, 512), 4

FAMILY = Family(
    name="cogvideox",
    title="CogVideoX's autoencoder",
    detect=detect,
    build=CogVideoXVAE,
    example=CogVideoXConfig(
        z_channels=16,
        encoder=Coder(_WIDTHS, (3,) * _LEVELS, (False,) * _LEVELS, mid_attention=False, stem=128),
        decoder=Coder(_WIDTHS, (4,) * _LEVELS, (False,) * _LEVELS, mid_attention=False),
    ),
    layouts=(names.COGVIDEOX, names.COGVIDEOX_DIFFUSERS),
    members=(Member("CogVideoX", 16, 8, 4),),
)
