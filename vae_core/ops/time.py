"""The operations that look at other frames of a clip.

A clip goes through a network as a batch, (T, C, H, W), frame by frame: all that works on images works on its frames,
and in memory (channels last) that is what a convolution in three dimensions reads. Only the ops of this file and
of conv3d.py make a difference between a clip and so many images.

A long clip is run a few frames at a time, if no op but a `Temporal` sees more than one frame. What such an op must know
of earlier frames it is given back, as its `past`. One that sees later frames waits for them, see look.py.
"""

import torch
from torch import Tensor, nn

from .clip_conv import convolve_clip, order_clip_weight
from .conv3d import Conv3d, OneFrame
from .look import LookAround, LookBack, Temporal
from .nearby import Near
from .norms import GroupNormOverFrames
from .rows import join
from .tree import AnyOp, Nest, Ops, keeps_scale, leaves, map_ops, walk
from .whole_image import Global


class RepeatFrames(Temporal):
    """Every frame twice, but the first. (T, C, H, W) -> (2T - 1, C, H, W)

    by_parity: the first one too if their number is even.
    """

    keeps_scale = True
    growth = 2.0

    def __init__(self, by_parity: bool = False):
        super().__init__()
        self.by_parity = by_parity

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        once = (len(x) % 2 if self.by_parity else 1) if past is None else 0
        y = x[once:].permute(0, 2, 3, 1)[:, None].expand(-1, 2, -1, -1, -1).flatten(0, 1).permute(0, 3, 1, 2)
        return join([x[:once], y]) if once else y, x[:0].clone()

    def as_single_frame(self) -> Ops:
        return ()


class EachTwice(Temporal):
    """Every frame twice, the first one too, so an image is to be run as a clip. (T, C, H, W) -> (2 T, C, H, W)"""

    keeps_scale = True
    growth = 2.0

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        y = x.permute(0, 2, 3, 1)[:, None].expand(-1, 2, -1, -1, -1).flatten(0, 1)
        return y.contiguous().permute(0, 3, 1, 2), x[:0].clone()  # of one frame it may be a view


class MeanFrames(Temporal):
    """The mean of every two frames; of an odd number the first stays. (T, C, H, W) -> (T', C, H, W)"""

    keeps_scale = True
    growth = 0.5

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        alone = len(x) % 2
        y = (x[alone::2] + x[alone + 1 :: 2]).mul_(0.5)
        return join([x[:1], y]) if alone else y, x[:0].clone()

    def as_single_frame(self) -> Ops:
        return ()


class FramesToChannels(Temporal):
    """Frames become channels of one, (channel, frame) in turn. (T, C, H, W) -> (T / n, n C, H, W)

    Before the first frame are n - 1 of zeros, or that frame again (`repeats`), so that it has a group of its own.
    """

    keeps_scale = True

    def __init__(self, n: int, repeats: bool = False):
        super().__init__()
        self.n, self.repeats = n, repeats

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        missing = -len(x) % self.n if past is None else 0
        if missing:
            before = (x[:1] if self.repeats else torch.zeros_like(x[:1])).expand(missing, *x.shape[1:])
            x = join([before, x])
        t, c, h, w = x.shape
        y = x.permute(0, 2, 3, 1).reshape(t // self.n, self.n, h, w, c)
        return y.permute(0, 2, 3, 4, 1).reshape(t // self.n, h, w, c * self.n).permute(0, 3, 1, 2), x[:0].clone()

    def as_single_frame(self) -> Ops:
        return (keeps_scale(self._first),)

    def _first(self, x: Tensor) -> Tensor:
        y = x.new_zeros(len(x), *x.shape[2:], x.shape[1], self.n)
        y[..., 0 if self.repeats else -1 :] = x.permute(0, 2, 3, 1)[..., None]
        return y.flatten(-2).permute(0, 3, 1, 2)


class ChannelsToFrames(Temporal):
    """The way back. (T, n C, H, W) -> (n T, C, H, W), without the n - 1 before the first frame.

    keeps_first: with them, so that an image makes n frames; then it is to be run as a clip.
    """

    keeps_scale = True

    def __init__(self, n: int, keeps_first: bool = False):
        super().__init__()
        self.n, self.first = n, 0 if keeps_first else n - 1

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        t, c, h, w = x.shape
        y = x.permute(0, 2, 3, 1).reshape(t, h, w, c // self.n, self.n).permute(0, 4, 1, 2, 3)
        y = y.reshape(t * self.n, h, w, c // self.n).contiguous().permute(0, 3, 1, 2)  # of one frame it may be a view
        return y if past is not None else y[self.first :], x[:0].clone()

    def as_single_frame(self) -> Ops:
        return (keeps_scale(self._last),)

    def _last(self, x: Tensor) -> Tensor:
        return x[:, self.n - 1 :: self.n].contiguous(memory_format=torch.channels_last)


class TimeConv(nn.Conv3d, Temporal):
    """A convolution over frames alone, which leaves the first frame of a clip as it is."""

    def __init__(self, c: int, c_out: int, frames: int, step: int):
        nn.Conv3d.__init__(self, c, c_out, (frames, 1, 1), (step if frames > 1 else 1, 1, 1))
        self.frames = frames

    reset_parameters = Conv3d.reset_parameters

    def order_weight(self, single_frame: bool = False) -> tuple[int, ...] | None:
        """As a `Conv3d` does. Of single frames it makes nothing."""
        return None if single_frame else order_clip_weight(self.weight)

    def convolve(self, x: Tensor) -> Tensor:
        return convolve_clip(self, x)

    def as_single_frame(self) -> Ops:
        return ()

    def forward(self, input: Tensor) -> Tensor:
        return self.end(input, None)[0]


class DoubleFrames(TimeConv):
    """Makes two frames of each but the first. (T, C, H, W) -> (2T - 1, C, H, W)"""

    growth = 2.0

    def __init__(self, c: int, frames: int):
        super().__init__(c, 2 * c, frames, 1)

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        first, x = (x[:1], x[1:]) if past is None else (x[:0], x)
        seen = join([x.new_zeros(self.frames - 1, *x.shape[1:]) if past is None else past, x])
        past = seen[len(seen) - self.frames + 1 :].clone()
        if not len(x):
            return first, past
        y = self.convolve(seen).permute(0, 2, 3, 1).unflatten(-1, (2, -1)).permute(0, 3, 1, 2, 4)
        return join([first, y.flatten(0, 1).permute(0, 3, 1, 2)]), past


class HalveFrames(TimeConv):
    """Makes one frame of two and the one before them; the first stays. (2T - 1, C, H, W) -> (T, C, H, W)"""

    def __init__(self, c: int, frames: int):
        super().__init__(c, c, frames, 2)

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        first, seen = (x[:1], x) if past is None else (x[:0], join([past, x]))
        y = join([first, self.convolve(seen)]) if len(seen) >= self.frames else first
        return y, seen[-1:].clone()


def as_single_frame(ops: Ops) -> Ops:
    """The same network for images, each of which is a clip of one frame: no op reads more than one frame.

    The result computes (B, C, H, W) -> (B, C', H', W'), image by image.
    """
    return map_ops(ops, _single_frame)


_LOOKS = (LookBack, LookAround)


def _single_frame(ops: Ops) -> Ops:
    result: list[AnyOp] = []
    for op in ops:
        if isinstance(op, Conv3d):
            if result and isinstance(result[-1], _LOOKS):
                result.pop()
            result.append(OneFrame(op))
        elif isinstance(op, (Temporal, GroupNormOverFrames, Global, Near, Nest)) and not isinstance(op, _LOOKS):
            result += op.as_single_frame()
        else:
            result.append(op)
    return tuple(result)


def splits_in_time(ops: Ops) -> bool:
    """Can a clip be run a few frames at a time? Not if an op reads all frames at once."""
    return not any(_reads_all_frames(op) for op in walk(ops))


def list_looks_ahead(ops: Ops) -> list[Temporal]:
    """The ops that read later frames, in the order of a run. When a clip ends, each has frames to make yet."""
    return [op for op in leaves(ops) if isinstance(op, Temporal) and op.ahead]


def _reads_all_frames(op: AnyOp) -> bool:
    if isinstance(op, Conv3d):
        return op.around > 0
    if isinstance(op, (GroupNormOverFrames, Nest)):
        return not isinstance(op, Nest) or op.over_frames
    if isinstance(op, Near):
        return op.over_frames
    return isinstance(op, Global) and op.over_frames and not op.looks_back
