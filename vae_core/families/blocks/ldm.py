"""What autoencoders that descend from latent diffusion have in common: their blocks, and how shapes tell their sizes.

Rombach et al. 2021 (https://arxiv.org/abs/2112.10752); reference: CompVis/latent-diffusion
ldm/modules/diffusionmodules/model.py, whose names the parameters bear.

The one surprise: `up.0` is the highest resolution and runs last.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ...ops import Conv2d, Global, Ops, Residual, SideInput, Upsample2x, attend, chain, plus, silu, times
from ..shapes import Shapes, count, size, vote

GROUPS = 32  # of the norms; files cannot tell, but their config.json may say another number


@dataclass(frozen=True)
class Coder:
    """One half. Levels are counted from the highest resolution. groups: of the norms."""

    widths: tuple[int, ...]  # channels of each level
    num_res_blocks: tuple[int, ...]  # residual blocks of each level
    attention: tuple[bool, ...]  # does attention follow each block of the level?
    mid_attention: bool = True
    stem: int | None = None  # channels after the encoder's first convolution
    groups: int = GROUPS

    def norm(self, c: int) -> nn.GroupNorm:
        return norm(c, self.groups)


# Names that other networks have and none of these has: VQ codebooks (MoVQ, aMUSEd), mask-conditioned decoders, a U-Net
# for decoder (the consistency decoder), temporal layers (SVD, Allegro), convolutions wrapped for causality
# (HunyuanVideo), norms conditioned on z (MoVQ, KVAE), changes of resolution in two parts (KVAE) and RMS norms (Wan,
# Hunyuan).
FOREIGN = re.compile(
    r"^(?:quantize|decoder\.encoder|decoder\.condition_encoder|decoder_unet|(?:decoder\.)?embed_image)\.|mix_factor|time_stack|time_conv|temp_conv"
    r"|temporal|\.conv\d?\.conv\.|conv_in\.conv\.|\.norm_layer\.|\.spatial_conv\.|\.gamma$"
)

BESIDE = ("quantize.", "decoder.encoder.")  # what VQ autoencoders and mask-conditioned decoders have beside the blocks
RESAMPLING = re.compile(r"(?:decoder\.up|encoder\.down)\.\d+\.(?:up|down)sample\.conv\.weight$")
SIDES = {"encoder": "down", "decoder": "up"}


def is_2d(shapes: Shapes) -> bool:
    """Convolutions of images, in levels, and nothing of another network."""
    if any(map(FOREIGN.search, shapes)):
        return False
    for half, side in SIDES.items():
        if any(name.startswith(f"{half}.") for name in shapes) and not count(shapes, f"{half}.{side}.0.block."):
            return False
    convs = [len(shape) for name, shape in shapes.items() if name.endswith((".conv1.weight", ".conv2.weight"))]
    return convs.count(4) * 2 >= len(convs)


def keeps_channels(shapes: Shapes) -> bool:
    """Does a change of resolution keep the number of channels? HunyuanImage trades pixels for channels."""
    resampling = [shape for name, shape in shapes.items() if RESAMPLING.match(name)]
    return sum(len(shape) == 4 and shape[0] == shape[1] for shape in resampling) * 2 >= len(resampling)


def makes_moments(shapes: Shapes) -> bool:
    """Does the encoder make mean and logvar, twice the channels the decoder reads? In a VQ autoencoder it makes z."""
    made = vote([size(shapes, "encoder.conv_out.weight"), size(shapes, "encoder.conv_out.bias"),
                 size(shapes, "quant_conv.weight", 1)])  # fmt: skip
    read = vote([size(shapes, "decoder.conv_in.weight", 1), size(shapes, "post_quant_conv.weight"),
                 size(shapes, "post_quant_conv.bias")])  # fmt: skip
    return made is None or made != read


def halved(shapes: Shapes, conv: str) -> list[int | None]:
    """Half the output channels of a convolution that makes moments: mean and logvar."""
    sizes = (size(shapes, f"{conv}.weight"), size(shapes, f"{conv}.bias"))
    return [n // 2 if n and n % 2 == 0 else None for n in sizes]


def read_coder(shapes: Shapes, half: str, groups: int = GROUPS) -> Coder | None:
    """The sizes of the 'encoder' or the 'decoder'; None if there is none, or none of this kind. groups: of its norms"""
    levels = [f"{half}.{SIDES[half]}.{i}" for i in range(count(shapes, f"{half}.{SIDES[half]}."))]
    widths = [_width(shapes, level) for level in levels]
    if not levels or any(not w or w % groups for w in widths):
        return None
    coder = Coder(
        widths=tuple(w for w in widths if w),
        num_res_blocks=tuple(count(shapes, f"{level}.block.") for level in levels),
        attention=tuple(count(shapes, f"{level}.attn.") > 0 for level in levels),
        mid_attention=any(name.startswith(f"{half}.mid.attn_1.") for name in shapes),
        groups=groups,
    )
    return _with_stem(coder, shapes) if half == "encoder" else coder


def groups_of(config: object) -> int:
    """Groups of the norms of this config's network, if it is made of these blocks."""
    halves = (vars(config).get(half) for half in SIDES)
    return next((half.groups for half in halves if isinstance(half, Coder)), GROUPS)


def list_odd_widths(shapes: Shapes, groups: int) -> list[int]:
    """Channels that norms of so many groups do not divide, in a network of these blocks; [] in any other."""
    own = {name: shape for name, shape in shapes.items() if not name.startswith(BESIDE)}
    own, _ = without_spatial_norms(own)
    levels = [f"{half}.{side}.{i}" for half, side in SIDES.items() for i in range(count(own, f"{half}.{side}."))]
    widths = [_width(own, level) for level in levels] if is_2d(own) else []
    return sorted({w for w in widths if w and w % groups}) if all(widths) else []


def _with_stem(coder: Coder, shapes: Shapes) -> Coder | None:
    stem = vote([size(shapes, "encoder.conv_in.weight"), size(shapes, "encoder.conv_in.bias"),
                 size(shapes, "encoder.down.0.block.0.norm1.weight")])  # fmt: skip
    return replace(coder, stem=stem) if stem and stem % coder.groups == 0 else None


def _width(shapes: Shapes, level: str) -> int | None:
    tensors = ("conv1.weight", "conv1.bias", "norm2.weight", "norm2.bias", "conv2.weight", "conv2.bias")
    return vote(size(shapes, f"{level}.block.{i}.{t}") for i in range(2) for t in tensors)


def norm(c: int, groups: int = GROUPS) -> nn.GroupNorm:
    return nn.GroupNorm(groups, c, eps=1e-6)


Norm = Callable[[int], nn.Module]  # channels -> a norm: an op, or a block of ops


class SpatialNorm(nn.Module):
    """A group norm, then scale and shift at every pixel from z, doubled so many times to the image's size.

    Of MoVQ, Zheng et al. 2022 (https://arxiv.org/abs/2209.09002).
    """

    def __init__(self, c: int, z_channels: int, doublings: int):
        super().__init__()
        self.norm_layer = norm(c)
        self.conv_y, self.conv_b = (Conv2d(z_channels, c, 1) for _ in range(2))
        self.doublings = doublings

    def ops(self) -> Ops:
        # A 1x1 convolution and repeated pixels change places: it reads z before it is enlarged.
        larger = tuple(Upsample2x() for _ in range(self.doublings))
        return (self.norm_layer, SideInput((self.conv_y, *larger), times), SideInput((self.conv_b, *larger), plus))


def without_spatial_norms(shapes: Shapes) -> tuple[Shapes, bool]:
    """The same with group norms for norms that look at z; and are most of the decoder's such?"""
    own = {name.replace(".norm_layer.", "."): shape for name, shape in shapes.items()}
    own = {name: shape for name, shape in own.items() if ".conv_y." not in name and ".conv_b." not in name}
    norms = [name for name in shapes if name.startswith("decoder.") and "norm" in name]
    return own, sum(".norm_layer." in name or ".conv_" in name for name in norms) * 2 > len(norms)


class ResnetBlock(nn.Module):
    """(B, c_in, H, W) -> (B, c_out, H, W)"""

    def __init__(self, c_in: int, c_out: int, norm: Norm = norm):
        super().__init__()
        self.norm1, self.conv1 = norm(c_in), Conv2d(c_in, c_out)
        self.norm2, self.conv2 = norm(c_out), Conv2d(c_out, c_out)
        self.nin_shortcut = Conv2d(c_in, c_out, 1) if c_in != c_out else None

    def ops(self) -> Ops:
        body = chain(self.norm1, silu, self.conv1, self.norm2, silu, self.conv2)
        return (Residual(body, chain(self.nin_shortcut)),)


class AttnBlock(Global):
    """Single-head self-attention over all pixels. (B, C, H, W) -> same"""

    last_conv = "proj_out"

    def __init__(self, c: int, norm: Norm = norm):
        super().__init__()
        self.norm = norm(c)
        self.q, self.k, self.v, self.proj_out = (Conv2d(c, c, 1) for _ in range(4))

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return tokens(self.k(x)), tokens(self.v(x))

    def recall(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        k, v = memory
        y = attend(tokens(self.q(x)), k, v)
        return self.proj_out(from_tokens(y, x))

    def ops(self) -> Ops:
        return (Residual((*chain(self.norm), self)),)


def tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H * W, C)"""
    return x.flatten(2).transpose(1, 2)[:, None]


def from_tokens(y: Tensor, x: Tensor) -> Tensor:
    """y (B, 1, H * W, C) -> (B, C, H, W) as x is, in channels last.

    As one list of pixels first. Attention gives a single image a stride between images that no layout has, by which
    torch would take it for another layout, and all that is made of it.
    """
    b, c, h, w = x.shape
    return y.reshape(-1, c).view(b, h, w, c).permute(0, 3, 1, 2)


class Middle(nn.Module):
    def __init__(self, c: int, attention: bool, norm: Norm = norm):
        super().__init__()
        self.block_1 = ResnetBlock(c, c, norm)
        self.attn_1 = AttnBlock(c, norm) if attention else None
        self.block_2 = ResnetBlock(c, c, norm)

    def ops(self) -> Ops:
        return chain(self.block_1, self.attn_1, self.block_2)


class Resample(nn.Module):
    """Checkpoints call the convolution `downsample.conv` or `upsample.conv`; before the latter, pixels are doubled."""

    def __init__(self, c: int, up: bool):
        super().__init__()
        self.up = up
        self.conv = Conv2d(c, c) if up else Conv2d(c, c, stride=2, pad=(0, 1))

    def ops(self) -> Ops:
        return chain(Upsample2x() if self.up else None, self.conv)


Resampling = Callable[[int, bool], nn.Module]  # channels, and whether it doubles or halves -> a block of ops


class Level(nn.Module):
    """One resolution: residual blocks, each perhaps with attention, then perhaps a change of resolution.

    side: 'down' or 'up', or None if the resolution does not change.
    """

    def __init__(self, c_in: int, c: int, blocks: int, attention: bool, side: str | None, norm: Norm = norm,
                 resample: Resampling = Resample):  # fmt: skip
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c_in if i == 0 else c, c, norm) for i in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(c, norm) for _ in range(blocks if attention else 0))
        self.downsample = resample(c, False) if side == "down" else None
        self.upsample = resample(c, True) if side == "up" else None

    def ops(self) -> Ops:
        attention = self.attn if len(self.attn) else [None] * len(self.block)
        pairs = (op for both in zip(self.block, attention, strict=True) for op in both)
        return chain(*pairs, self.downsample, self.upsample)


class Encoder(nn.Module):
    """pixels (B, 3, H, W) in [-1, 1] -> moments or z (B, out_channels, h, w)"""

    def __init__(self, c: Coder, in_channels: int, out_channels: int, resample: Resampling = Resample):
        super().__init__()
        stem, top, last = c.stem or c.widths[0], c.widths[-1], len(c.widths) - 1
        self.conv_in = Conv2d(in_channels, stem)
        self.down = nn.ModuleList(
            Level(c_in, width, blocks, attention, "down" if i < last else None, c.norm, resample)
            for i, (c_in, width, blocks, attention) in enumerate(
                zip((stem, *c.widths[:-1]), c.widths, c.num_res_blocks, c.attention, strict=True)
            )
        )
        self.mid = Middle(top, c.mid_attention, c.norm)
        self.norm_out, self.conv_out = c.norm(top), Conv2d(top, out_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.down, self.mid, self.norm_out, silu, self.conv_out)


class Decoder(nn.Module):
    """z (B, z_channels, h, w) -> pixels (B, 3, H, W) in [-1, 1]

    norm_at: the norm of a resolution, 0 is the highest; None: the same group norm for all
    """

    def __init__(self, c: Coder, z_channels: int, out_channels: int,
                 norm_at: Callable[[int], Norm] | None = None, resample: Resampling = Resample):  # fmt: skip
        super().__init__()
        top, last = c.widths[-1], len(c.widths) - 1
        norms = [norm_at(level) if norm_at else c.norm for level in range(last + 1)]
        self.conv_in = Conv2d(z_channels, top)
        self.mid = Middle(top, c.mid_attention, norms[last])
        self.up = nn.ModuleList(
            Level(c_in, width, blocks, attention, "up" if i else None, norms[i], resample)
            for i, (c_in, width, blocks, attention) in enumerate(
                zip((*c.widths[1:], top), c.widths, c.num_res_blocks, c.attention, strict=True)
            )
        )
        self.norm_out, self.conv_out = norms[0](c.widths[0]), Conv2d(c.widths[0], out_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, self.mid, *reversed(self.up), self.norm_out, silu, self.conv_out)
