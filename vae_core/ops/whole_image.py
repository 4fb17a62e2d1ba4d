"""Ops that see the whole image at once: attention, and sums over all pixels."""

from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor, nn

from .tree import Op, Ops


class Global(Op, nn.Module):
    """An op that reads the whole image: what is remembered of all its parts gives the result for each of them.

    memory_grows  does what is remembered grow with the image?
    over_frames   does it read other frames of a clip?
    looks_back    if so: only earlier ones, so what is remembered of a part of a clip serves the parts after it
    last_conv     the name of the submodule that makes its result, if that is a convolution
    """

    memory_grows: bool = True
    over_frames: bool = False
    looks_back: bool = False
    last_conv: str = ""

    def remember(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the others need to know of these pixels. Tensors (B, heads, pixels, C)."""
        raise NotImplementedError

    def merge(self, parts: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What is remembered of several parts, as if they were one."""
        return tuple(torch.cat(each, -2) for each in zip(*parts, strict=True))

    def recall(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        """The result for these pixels, from what is remembered of all."""
        raise NotImplementedError

    def as_single_frame(self) -> Ops:
        """What it comes to on images, that is on clips of one frame."""
        return (self,)

    def work(self, made: Tensor) -> float:
        """Multiplications for what was made: of attention, and its four projections."""
        return made.numel() * (4 * made.shape[1] + 2 * made.shape[-1] * made.shape[-2])

    def forward(self, x: Tensor) -> Tensor:
        return self.recall(x, self.remember(x))


class Sums(Global):
    """A Global for which sums over all pixels are enough to remember: the parts' are added."""

    memory_grows = False

    def merge(self, parts: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        return reduce(lambda known, part: tuple(a + b for a, b in zip(known, part, strict=True)), parts)
