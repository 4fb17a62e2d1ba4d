"""A convolution over the frames of a clip, and what it does to a single frame. (T, C, H, W) and (B, C, H, W)"""

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from .clip_conv import (
    convolve_clip,
    convolve_pairs,
    convolve_summed,
    convolve_taps,
    count_summed_bytes,
    order_clip_weight,
    suits_pairs,
)
from .layouts import order_taps, runs_by_taps
from .look import LookAround, LookBack
from .rows import Window, lay_out_weight, pad_borders
from .tree import Ops
from .widening import conv2d

Kernel = int | tuple[int, int, int]


class Conv3d(Window, nn.Conv3d):
    """Convolution over frames, rows and columns. (T + k - 1, c_in, H, W) -> (T, c_out, H', W')

    In space it pads, in time it does not: as a block it is a `LookBack` and itself, so the last frame it sees is its
    own, as in every causal VAE. `repeats`: before the first frame it is seen again instead of zeros. `border`: what is
    beyond the borders of an image, see Window; if it repeats frames, by default the nearest pixel, else zeros. `pad` =
    (before, after) in space.

    `around`: it sees as many frames after its own as before. If it repeats frames, the last one too, it is as a block a
    `LookAround` and itself. Else beyond both ends of the clip are zeros, which it pads: it is run on all frames of a
    clip at once, (T, c_in, H, W) -> (T, c_out, H', W').
    """

    def __init__(self, c_in: int, c_out: int, kernel: Kernel = 3, *, stride: Kernel = 1,
                 pad: tuple[int, int] | None = None, repeats: bool = False, around: bool = False,
                 border: str | None = None, bias: bool = True):  # fmt: skip
        nn.Conv3d.__init__(self, c_in, c_out, kernel, stride, bias=bias)
        self.frames, self.span, _ = self.kernel_size
        self.ahead = self.frames // 2 if around else 0
        self.around = 0 if repeats else self.ahead
        self.step, self.repeats = self.stride[1], repeats
        self.rows = pad or (self.span // 2, self.span // 2)
        self.border = border or ("replicate" if repeats else "constant")
        self.growth = c_out / c_in / self.step**2

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            nn.Conv3d.reset_parameters(self)  # by its name: a TimeConv has this method too

    def ops(self) -> Ops:
        if self.ahead:
            return (LookAround(self.ahead), self) if self.repeats else (self,)
        return (LookBack(self.frames - 1, self.repeats, self.stride[0]), self) if self.frames > 1 else (self,)

    def forward(self, input: Tensor) -> Tensor:
        before, after = self.rows
        if before == after and self.border == "constant":
            return self._convolve(input, (before, before))
        return self._convolve(self._pad_borders(input, (before, after, before, after)), (0, 0))

    def apply_unpadded(self, x: Tensor) -> Tensor:
        before, after = self.rows
        if before == after and self.border == "constant":
            return self._convolve(x, (0, before))
        return self._convolve(self._pad_borders(x, (before, after, 0, 0)), (0, 0))

    def _pad_borders(self, x: Tensor, sides: Sequence[int]) -> Tensor:
        return pad_borders(x, sides, self.border) if any(sides) else x

    def order_weight(self, single_frame: bool = False) -> tuple[int, ...] | None:
        """How clips, or single frames, read its weight on a GPU, the outermost dimension first; None: in any way."""
        by_taps = single_frame or runs_by_taps(self.frames, self.weight)
        return order_taps(self.weight.device) if by_taps else order_clip_weight(self.weight)

    def taps(self) -> tuple[Tensor, ...]:
        """The weights of each frame, (c_out, c_in, k, k). The first call lays them out one after the other."""
        lay_out_weight(self.weight, order_taps(self.weight.device))
        return self.weight.unbind(2)

    def _convolve(self, x: Tensor, pad: tuple[int, int]) -> Tensor:
        if runs_by_taps(self.frames, x):
            return self._by_images(x, pad)
        return convolve_clip(self, x, (self.around, *pad), partial(self._by_images, pad=(0, pad[1])))

    def _by_images(self, x: Tensor, pad: tuple[int, int]) -> Tensor:
        """By convolutions of images, which are added up; in half precision the sums would be rounded.

        On a CPU tap by tap takes 0.6 to 0.9 of the time of a convolution over several frames, in pairs less.
        """
        x = F.pad(x, (0,) * 6 + (self.around,) * 2) if self.around else x
        if suits_pairs(self, x):
            return convolve_pairs(self.taps(), self.bias, x, pad)
        return convolve_taps(self.taps(), self.bias, x, self.stride, pad)


class OneFrame(Window):
    """What a `Conv3d` does to clips of one frame: the taps that meet it, as a convolution of images.

    One that repeats frames meets it with all its taps. They are summed at each call, some channels of the result at a
    time, and the sum goes with the call: of all layers together it would take a third of what the network takes.

    changes: made of the weight before it is used, number by number
    """

    changes: tuple[Callable[[Tensor], Tensor], ...] = ()

    def __init__(self, conv: Conv3d):
        self.original, self.bias = conv, conv.bias
        self.rows, self.span, self.step, self.growth = conv.rows, conv.span, conv.step, conv.growth
        self.border = conv.border
        taps, own = conv.taps(), conv.frames - 1 - conv.around
        self.taps = taps if conv.repeats else taps[own : own + 1]
        self.passing_bytes = count_summed_bytes(self.taps) if len(self.taps) > 1 else 0

    @property
    def weight(self) -> Tensor:
        """(c_out, c_in, k, k), of one tap."""
        return self.taps[0]

    def change(self, change: Callable[[Tensor], Tensor]) -> "OneFrame":
        """One with a weight of its own: what `change` makes of this one's, number by number."""
        twin = copy(self)
        if len(self.taps) > 1:
            twin.changes = (*self.changes, change)
        else:
            twin.taps = (change(self.weight),)
        return twin

    def __call__(self, x: Tensor) -> Tensor:
        before, after = self.rows
        return self._convolve(x, (before, after, before, after))

    def apply_unpadded(self, x: Tensor) -> Tensor:
        return self._convolve(x, (*self.rows, 0, 0))

    def _convolve(self, x: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
        left, right, above, below = sides
        if self.border == "constant" and left == right and above == below:
            return self._convolve_padded(x, (above, left))
        return self._convolve_padded(pad_borders(x, sides, self.border) if any(sides) else x, (0, 0))

    def _convolve_padded(self, x: Tensor, pad: tuple[int, int]) -> Tensor:
        if len(self.taps) == 1:
            return conv2d(x, self.weight, self.bias, self.step, pad)
        return convolve_summed(self.taps, self.bias, x, self.step, pad, self.changes)
