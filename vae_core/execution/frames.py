"""Encode a clip that is read a few frames at a time: it is never in memory as a whole."""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from ..errors import BadPixels
from ..families import ClipLaw
from ..images.pixels import pad_to, repeat_last_frame
from ..plain import describe, name_need
from .bands.readers import Reader

FRAMES = 0  # the dimension


class Frames(Protocol):
    """A clip that can be read from its start, more than once."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W)"""
        ...

    def read(self) -> Iterator[Tensor]:
        """All its frames in order, (C, n, H, W) of any n; floating-point, in [-1, 1]."""
        ...


class StreamedClip:
    """Frames as an encoder reads them: continued to a multiple of the ratio and to a whole step, on its device.

    law    None: every frame is an image
    check  called with all that is read, (C, n, H, W); raises if it cannot be encoded
    """

    def __init__(
        self, frames: Frames, ratio: int, law: ClipLaw | None, device: torch.device, dtype: torch.dtype,
        check: Callable[[Tensor], object],
    ):  # fmt: skip
        self.frames, self.ratio, self.device, self.dtype, self.check = frames, ratio, device, dtype, check
        self.law = law or ClipLaw()

    def parts(self, latents: int, begins: int = 0) -> Iterator[Tensor]:
        """(n, C, H, W) of so many latent frames each, the last one with what is left; 0: all in one. begins: see Plan.

        Raises BadPixels if the frames are not what they say.
        """
        count = self.frames.shape[1]
        left = count + self.law.missing(count)
        reader = Reader(self._continue(), FRAMES)
        n = (begins or self.law.first + self.law.step * (latents - 1)) if latents else left
        while left > 0:
            part = reader.read(min(n, left))
            left -= len(part)
            if not left:
                reader.finish()
            yield part.to(self.device, self.dtype)
            n = self.law.step * latents

    def _continue(self) -> Iterator[Tensor]:
        """(n, C, H, W), and at the end the last frame as often as the clip is missing frames."""
        count = found = self.frames.shape[1]
        for some in self._check_frames():
            found -= some.shape[1]
            padded = pad_to(some.transpose(0, 1), self.ratio)
            yield padded if found else repeat_last_frame(padded, self.law.missing(count))

    def _check_frames(self) -> Iterator[Tensor]:
        c, count, h, w = self.frames.shape
        found = 0
        for some in self.frames.read():
            if need := name_need(some):
                raise BadPixels(f"after {found} frames of this clip what is read must be {need}.")
            n = some.shape[1] if some.ndim == 4 else 0
            if n < 1 or some.shape != (c, n, h, w) or found + n > count:
                raise BadPixels(
                    f"this clip is ({c}, {count}, {h}, {w}), and after {found} of its frames comes {describe(some)}: "
                    f"give ({c}, n, {h}, {w}), {count} frames in all."
                )
            found += n
            self.check(some)
            yield some
        if found < count:
            raise BadPixels(f"this clip ends after {found} of its {count} frames.")
