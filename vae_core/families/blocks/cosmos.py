"""Cosmos' Haar transform, and how the sizes of its halves are read from shapes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...devices.dtypes import at_least_fp32
from ...ops import Op
from ..shapes import Shapes, count, size, vote

ROOT_HALF = 0.7071067690849304  # of 1/2, in fp32, as diffusers' AutoencoderKLCosmos and NVIDIA's files hold it
PATCHES = (1, 2, 4, 8)
COLOURS = 3


@dataclass(frozen=True)
class Coder:
    """One half. Levels are counted from the highest resolution.

    stem     channels of the encoder's first convolution, or of the decoder's middle
    widths   channels of each level
    blocks   residual blocks of each level
    changes  between each level and the next lower one: does the resolution change, and the number of frames?
    """

    stem: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    changes: tuple[tuple[bool, bool], ...]


def read_coder(shapes: Shapes, half: str, side: str) -> Coder | None:
    """The sizes of the 'encoder' ('down') or of the 'decoder' ('up'); None if there is none, or none of this kind."""
    levels = [f"{half}.{side}.{i}" for i in range(count(shapes, f"{half}.{side}."))]
    widths = [_width(shapes, level) for level in levels]
    stem = vote(size(shapes, f"{half}.conv_in.{conv}.{part}") for conv in ("conv_t", "conv_s") for part in _BOTH)
    if not stem or not levels or not all(widths):
        return None
    at = levels[:-1] if side == "down" else levels[1:]
    space, time = ("conv1", "conv2") if side == "down" else ("conv2", "conv1")
    return Coder(
        stem=stem,
        widths=tuple(w for w in widths if w),
        blocks=tuple(count(shapes, f"{level}.block.") for level in levels),
        changes=tuple(tuple(_has(shapes, f"{one}.{side}sample.{conv}.") for conv in (space, time)) for one in at),  # type: ignore[misc]
    )


def read_patch(shapes: Shapes) -> int | None:
    """Pixels and frames in each direction that become channels of one."""
    made = [size(shapes, "encoder.conv_in.conv_s.weight", 1)]
    made += [size(shapes, f"decoder.conv_out.{conv}.{part}") for conv in ("conv_t", "conv_s") for part in _BOTH]
    return next((patch for patch in PATCHES if COLOURS * patch**3 == vote(made)), None)


def _width(shapes: Shapes, level: str) -> int | None:
    convs = (f"{level}.block.{i}.conv{j}.{conv}" for i in range(2) for j in (1, 2) for conv in ("conv_s", "conv_t"))
    return vote(size(shapes, f"{conv}.{part}") for conv in convs for part in _BOTH)


def _has(shapes: Shapes, start: str) -> bool:
    return any(name.startswith(start) for name in shapes)


_BOTH = ("weight", "bias")


class Haar(Op):
    """Sums and differences of neighbours in time, rows and columns, and of the sums again. Pointwise.

    (B, C * 8^halvings, H, W) -> same. The channels are (channel, frame, row, column), and become (filter, channel), the
    filters of the last halving the slowest. back: the inverse. Computed in fp32 at least.
    """

    keeps_scale = True

    def __init__(self, halvings: int, back: bool = False):
        self.halvings, self.back = halvings, back
        self.bits = [a * halvings + i for i in range(halvings) for a in range(3)]  # in the order of the filters
        self.scale = (ROOT_HALF**3 * (8**0.5 if back else 8**-0.5)) ** halvings

    def __call__(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        two = (2,) * len(self.bits)
        y = x.permute(0, 2, 3, 1).to(at_least_fp32(x.dtype))
        if self.back:
            places = [self.bits.index(i) for i in range(len(two))]
            y = y.reshape(b, h, w, *two, -1).permute(0, 1, 2, -1, *(3 + place for place in places))
            y = self._transform(y)
        else:
            y = self._transform(y.reshape(b, h, w, -1, *two)).permute(0, 1, 2, *(4 + bit for bit in self.bits), 3)
        return y.reshape(b, h, w, c).mul_(self.scale).to(x.dtype).permute(0, 3, 1, 2)

    def _transform(self, x: Tensor) -> Tensor:
        for dim in range(4, x.ndim):
            one, other = x.unbind(dim)
            x = torch.stack((one + other, one - other), dim)
        return x
