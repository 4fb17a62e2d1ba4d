"""Ops that look at other frames of a clip, and the two that put them beside a part of it."""

import torch
from torch import Tensor, nn

from .rows import join
from .tree import Op, Ops


class Temporal(Op, nn.Module):
    """An op that looks at other frames too, in each row at that row alone.

    ahead: how many frames after its own it reads. Such an op is behind: it makes fewer frames of a part than it is
    given, and the rest when it is told that the clip ends.
    """

    ahead: int = 0

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """The result for the next frames x, (T, C, rows, W), and what is to be known of them later: as many rows.

        past: what it gave with the frames before, None at the beginning of a clip.
        """
        raise NotImplementedError

    def end(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `advance`, for the last frames of a clip. Of an op that looks ahead there may be none left: (0, ...)."""
        return self.advance(x, past)

    def as_single_frame(self) -> Ops:
        """What it comes to on images, that is on clips of one frame: ops for a batch of them."""
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        return self.end(input, None)[0]


class LookBack(Temporal):
    """Puts the last frames before x in front of it. (T, C, H, W) -> (T + frames, C, H, W)

    What came before the first frame are zeros, or that frame again (`repeats`). A convolution that moves on by `step`
    frames reads step - 1 fewer of those it has read: by these, less is put in front of the frames after.
    """

    keeps_scale = True

    def __init__(self, frames: int, repeats: bool = False, step: int = 1):
        super().__init__()
        self.frames, self.repeats, self.later = frames, repeats, frames - step + 1

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        if past is None:
            past = (x[:1] if self.repeats else torch.zeros_like(x[:1])).expand(self.frames, *x.shape[1:])
        seen = join([past, x])
        return seen, seen[len(seen) - self.later :].clone()


class LookAround(Temporal):
    """Puts so many frames before x in front of it, and as many after it at its end.

    Beyond both ends of a clip are the first and the last frame again (`repeats`), or zeros.

    A whole clip: (T, C, H, W) -> (T + 2 frames, C, H, W). Of a part, what a convolution over 2 frames + 1 can use:
    nothing, (0, C, H, W), while too few have come, and so many frames more when the clip ends.
    """

    keeps_scale = True

    def __init__(self, frames: int, repeats: bool = True):
        super().__init__()
        self.ahead, self.repeats = frames, repeats

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._look(x, past, 0)

    def end(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._look(x, past, self.ahead)

    def _look(self, x: Tensor, past: Tensor | None, after: int) -> tuple[Tensor, Tensor]:
        before = self._beyond(x[:1], self.ahead) if past is None else past
        seen = [before, x] if len(x) else [before]
        seen += [self._beyond(seen[-1][-1:], after)] if after else []
        y = join(seen)
        return y if len(y) > 2 * self.ahead else y[:0], y[-2 * self.ahead :].clone()

    def _beyond(self, end: Tensor, frames: int) -> Tensor:
        """What lies beyond the first or the last frame, (1, C, H, W) -> (frames, C, H, W)"""
        return (end if self.repeats else torch.zeros_like(end)).expand(frames, *end.shape[1:])
