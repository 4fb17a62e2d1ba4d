"""What frames do in the tiny autoencoders of clips: see the one before, become channels, begin and end clips."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...ops import Op, Ops, Temporal, join


class FramesOfImage(Temporal):
    """Clips pass. Of an image become as many frames, all the same."""

    def __init__(self, frames: int):
        super().__init__()
        self.frames = frames

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        return x, x[:0].clone()

    def as_single_frame(self) -> Ops:
        return (Copies(self.frames),)


class LeadIn(Temporal):
    """Puts n black frames before every chunk of a clip, and before an image.

    begun: where in its chunk the first part of a clip ends.
    """

    def __init__(self, n: int, chunk: int, begun: int):
        super().__init__()
        self.n, self.chunk, self.begun = n, chunk, begun
        self.growth = 1 + n

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        left = 0 if past is None else self.chunk - self.begun
        black, parts = x.new_zeros(self.n, *x.shape[1:]), [x[:left]]
        for chunk in x[left:].split(self.chunk) if len(x) > left else ():
            parts += [black, chunk]
        return join(parts), x[:0].clone()

    def as_single_frame(self) -> Ops:
        return (Copies(self.n + 1, dark=True),)


class Copies(Op):
    """Each image so many times; with `dark`, all but the last are black. (B, C, H, W) -> (frames B, C, H, W)"""

    def __init__(self, frames: int, dark: bool = False):
        self.frames, self.dark, self.growth = frames, dark, float(frames)

    def __call__(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1)[:, None].repeat(1, self.frames, 1, 1, 1)
        if self.dark:
            y[:, :-1] = 0
        return y.flatten(0, 1).permute(0, 3, 1, 2)


class BesideBefore(Temporal):
    """Each frame, and as more channels the frame before it. (T, C, H, W) -> (T, 2C, H, W)

    frames         those of an image; before the first, as before that of a clip, are zeros
    chunk, begun   so many frames on it begins anew; the first part of a clip is `begun` frames into its chunk
    """

    growth = 2.0

    def __init__(self, frames: int, chunk: int = 0, begun: int = 0):
        super().__init__()
        self.frames, self.chunk, self.begun = frames, chunk, begun

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        before = join([torch.zeros_like(x[:1]) if past is None else past, x[:-1]])
        if self.chunk:
            at = 0 if past is None else self.begun
            before[-at % self.chunk :: self.chunk] = 0
        return join([x, before], 1), x[-1:].clone()

    def as_single_frame(self) -> Ops:
        return (BeforeInImage(self.frames),)


@dataclass(frozen=True, eq=False)
class BeforeInImage(Op):
    """The same in so many frames of each image."""

    frames: int
    growth = 2.0

    def __call__(self, x: Tensor) -> Tensor:
        before = join([x[:1], x[:-1]])
        before[:: self.frames] = 0
        return join([x, before], 1)


class DropFirst(Temporal):
    """Leaves out the first n frames of a clip, or of every `chunk` of frames; of an image's, all but the last."""

    def __init__(self, n: int, chunk: int = 0):
        super().__init__()
        self.n, self.chunk = n, chunk

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self.chunk:
            return x[self.n :] if past is None else x, x[:0].clone()
        at = 0 if past is None else len(past)
        left = (at + len(x)) % self.chunk
        begins = range(-(at % self.chunk), len(x), self.chunk)  # of the chunks: the first may be before this part
        kept = [x[max(0, begin + self.n) : begin + self.chunk] for begin in begins]  # CUDA waits for lists of indices
        return join([x[:0], *kept]), x.new_zeros(left, 0, *x.shape[2:])  # remembers the number alone

    def as_single_frame(self) -> Ops:
        return (self._last,)

    def _last(self, x: Tensor) -> Tensor:
        return x[self.n :: self.n + 1].contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, eq=False)
class FramesTogether(Op):
    """n frames become channels of one, (frame, channel). (T, C, H, W) -> (T / n, n C, H, W)"""

    n: int

    def __call__(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1).unflatten(0, (-1, self.n)).permute(0, 2, 3, 1, 4)
        return y.flatten(-2).permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class FramesApart(Op):
    """The way back. (T, n C, H, W) -> (n T, C, H, W)"""

    n: int

    def __call__(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1).unflatten(-1, (self.n, -1)).permute(0, 3, 1, 2, 4)
        return y.flatten(0, 1).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
