"""What Kandinsky's autoencoders of clips have in common: the halves of latent diffusion without attention.

Reference: https://github.com/kandinskylab/kvae (MIT), whose names the parameters bear. Convolutions see no later frame,
and that of a residual block is wrapped, `conv1.conv`. The decoder's norms look at z, as MoVQ's do. Changes of
resolution add a convolution to means, or to repeated pixels and frames.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from ...ops import Conv3d, Ops, RepeatFrames, Residual, SideInput, Upsample2x, chain, plus, silu, times
from ..shapes import Shapes
from .ldm import SIDES
from .ldm_3d import Causal, Kit, Middle, ResnetBlock


@dataclass(frozen=True)
class Coder:
    """One half. Levels are counted from the highest resolution.

    in_time: of each change of resolution, is the number of frames changed too?
    """

    widths: tuple[int, ...]  # channels of each level
    blocks: tuple[int, ...]  # residual blocks of each level
    in_time: tuple[bool, ...]


def is_kvae_of_clips(shapes: Shapes) -> bool:
    """Wrapped convolutions over frames, and changes of resolution in two parts?"""
    spatial = [len(shape) for name, shape in shapes.items() if name.endswith(".spatial_conv.weight")]
    wrapped = any(name.endswith((".conv1.conv.weight", ".conv1.conv.bias")) for name in shapes)
    return spatial.count(5) * 2 > len(spatial) and wrapped


def read_in_time(shapes: Shapes, half: str, levels: int) -> tuple[bool, ...]:
    """See `Coder`. half: 'encoder' or 'decoder', of so many levels; the decoder's highest changes nothing."""
    first = int(half == "decoder")
    starts = (f"{half}.{SIDES[half]}.{i}.{SIDES[half]}sample" for i in range(first, first + levels - 1))
    return tuple(any(name.startswith(f"{start}.temporal_conv.") for name in shapes) for start in starts)


class SpatialNorm(nn.Module):
    """A norm, then scale and shift at every pixel from z, doubled to the size and number of the frames."""

    def __init__(self, norm: Callable[[int], nn.Module], z: int, doublings: int, in_time: int, c: int):
        super().__init__()
        self.norm_layer, self.conv_y, self.conv_b = norm(c), Conv3d(z, c, 1), Conv3d(z, c, 1)
        self.doublings, self.in_time = doublings, in_time

    def ops(self) -> Ops:
        y, b = (SideInput(self._enlarge(conv), join) for conv, join in ((self.conv_y, times), (self.conv_b, plus)))
        return (*chain(self.norm_layer), y, b)

    def _enlarge(self, conv: Conv3d) -> Ops:
        """A 1x1 convolution and repeated pixels change places: it reads z before it is as large as the image."""
        doublings = (Upsample2x() for _ in range(self.doublings))
        return (*(RepeatFrames() for _ in range(self.in_time)), conv, *doublings)


class Upsample(nn.Module):
    """Frames, then pixels are doubled, and each time a convolution is added. border: beyond the image, see Window"""

    def __init__(self, c: int, in_time: bool, border: str):
        super().__init__()
        self.spatial_conv = Conv3d(c, c, (1, 3, 3), border=border)
        self.temporal_conv = Causal(c, c, (3, 1, 1)) if in_time else None
        self.linear = Conv3d(c, c, 1)

    def ops(self) -> Ops:
        time = (RepeatFrames(), Residual(self.temporal_conv.ops())) if self.temporal_conv else ()
        return chain(*time, Upsample2x(), Residual((self.spatial_conv,)), self.linear)


class Level(nn.Module):
    """One resolution: residual blocks, then perhaps a change of resolution."""

    def __init__(self, c_in: int, c: int, blocks: int, kit: Kit,
                 downsample: nn.Module | None = None, upsample: nn.Module | None = None):  # fmt: skip
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c_in if i == 0 else c, c, kit) for i in range(blocks))
        self.downsample, self.upsample = downsample, upsample

    def ops(self) -> Ops:
        return chain(*self.block, self.downsample, self.upsample)


class Encoder(nn.Module):
    """pixels (T, 3, H, W) -> moments (T', 2 * z_channels, h, w)

    reads       channels that each level reads, from the highest resolution
    downsample  makes a change of resolution, of channels and whether it is in time, too
    """

    def __init__(self, c: Coder, reads: tuple[int, ...], downsample: Callable[[int, bool], nn.Module], kit: Kit,
                 in_channels: int, z: int):  # fmt: skip
        super().__init__()
        self.conv_in = kit.conv(in_channels, reads[0])
        changes = (*(downsample(width, time) for width, time in zip(c.widths[:-1], c.in_time, strict=True)), None)
        levels = zip(reads, c.widths, c.blocks, changes, strict=True)
        self.down = nn.ModuleList(Level(a, b, n, kit, downsample=change) for a, b, n, change in levels)
        self.mid = Middle(c.widths[-1], False, kit)
        self.norm_out, self.conv_out = kit.norm(c.widths[-1]), kit.conv(c.widths[-1], 2 * z)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.down, self.mid, self.norm_out, silu, self.conv_out)


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> pixels (T', 3, H, W). Level 0 is the highest resolution and runs last.

    kit     its norm is what the norms that look at z begin with
    border  of convolutions that change the resolution
    """

    def __init__(self, c: Coder, kit: Kit, border: str, z: int, out_channels: int):
        super().__init__()
        top, last = c.widths[-1], len(c.widths) - 1
        norms = [partial(SpatialNorm, kit.norm, z, last - i, sum(c.in_time[i:])) for i in range(last + 1)]
        kits = [kit._replace(norm=norm) for norm in norms]
        self.conv_in, self.mid = kit.conv(z, top), Middle(top, False, kits[last])
        changes = (Upsample(width, time, border) for width, time in zip(c.widths[1:], c.in_time, strict=True))
        levels = zip((*c.widths[1:], top), c.widths, c.blocks, kits, (None, *changes), strict=True)
        self.up = nn.ModuleList(Level(a, b, n, kit, upsample=change) for a, b, n, kit, change in levels)
        self.norm_out, self.conv_out = norms[0](c.widths[0]), kit.conv(c.widths[0], out_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, self.mid, *reversed(self.up), self.norm_out, silu, self.conv_out)
