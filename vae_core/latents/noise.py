"""Noise from a seed, the same on every machine. It is drawn in float32 on the CPU, whatever the latent's device."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral

import torch
from torch import Tensor

from ..devices.numerics import pin_numerics
from ..errors import BadRequest
from . import spectra
from .interpolation import slerp
from .philox import NvidiaStream

SEEDS = 2**64
SOURCES = CPU, NVIDIA = ("cpu", "nvidia")
BATCH_SEEDS = INCREMENT, SINGLE, SAME = ("increment", "single", "same")


@dataclass(frozen=True)
class Noise:
    """A recipe for noise; `draw` makes noise in the shape of a latent.

    source               'cpu': PyTorch's generator on a CPU.
                         'nvidia': PyTorch's generator on an NVIDIA GPU, computed on the CPU (philox.py); A1111's noise
    batch_seeds          'increment': item i is drawn from seed + i, so that each can be made again alone.
                         'single': all items are drawn one after the other from one stream.
                         'same': every item is drawn from the seed.
    spectrum             one of `spectra.SPECTRA`
    variation_seed       seed of a second noise; item i is drawn from variation_seed + i
    variation_strength   how far to go towards the second noise along the circle, 0 to 1
    Raises BadRequest for unknown words, for seeds that are no whole numbers, and for a strength outside [0, 1].
    """

    seed: int = 0
    source: str = CPU
    batch_seeds: str = INCREMENT
    spectrum: str = spectra.WHITE
    variation_seed: int = 0
    variation_strength: float = 0.0

    def __post_init__(self):
        for word, words in ((self.source, SOURCES), (self.batch_seeds, BATCH_SEEDS), (self.spectrum, spectra.SPECTRA)):
            if word not in words:
                raise BadRequest(f"noise cannot be '{word}': choose one of {', '.join(words)}.")
        for seed in (self.seed, self.variation_seed):
            if not isinstance(seed, Integral):
                raise BadRequest(f"a seed is a whole number, not {str(seed)[:60]!r}.")
        if not 0 <= self.variation_strength <= 1:  # also true of NaN
            raise BadRequest(f"variation_strength is {self.variation_strength}: give a number from 0 to 1.")

    @pin_numerics()
    def draw(self, shape: Sequence[int], index: Sequence[int] | None = None) -> Tensor:
        """Draw noise with mean 0 and variance 1.

        shape: (B, C, h, w) or (B, C, T, h, w), which is also the shape of the result, float32 on the CPU.
        index: for each item, its number in the batch that it was taken from; None means 0, 1, 2 ...
        Raises BadRequest for other shapes, and if there is not one number for each item.
        """
        return self.draw_several([shape], index)[0]

    @pin_numerics()
    def draw_several(self, shapes: Sequence[Sequence[int]], index: Sequence[int] | None = None) -> list[Tensor]:
        """Draw noise for latents that belong together, as those of a clip and of its sound: one after the other.

        The streams of the first go on in those after it, as in core nodes.

        shapes: of each, (B, C, h, w), (B, C, T, h, w) or any other that begins with the batch. index: as for `draw`.
        Raises what `draw` raises.
        """
        streams, second = _Streams(self.source), _Streams(self.source)
        return [self._draw_one(tuple(shape), index, streams, second) for shape in shapes]

    def _draw_one(
        self, shape: tuple[int, ...], index: Sequence[int] | None, streams: "_Streams", second: "_Streams"
    ) -> Tensor:
        """second: the streams of the second noise."""
        if len(shape) < 3 or not all(isinstance(n, Integral) and n >= 0 for n in shape):
            raise BadRequest(f"there is no noise of shape {shape}: give (B, C, h, w), or (B, C, T, h, w) of clips.")
        index = range(shape[0]) if index is None else index
        if len(index) != shape[0] or min(index, default=0) < 0:
            raise BadRequest(f"{shape[0]} items cannot be items {list(index)[:9]} of a batch: one number for each.")
        noise = self._draw_items(shape[1:], index, self.seed, self.batch_seeds, streams)
        if not self.variation_strength:
            return noise
        other = self._draw_items(shape[1:], index, self.variation_seed, INCREMENT, second)
        return slerp(noise, other, self.variation_strength)

    def _draw_items(
        self, shape: tuple[int, ...], index: Sequence[int], seed: int, batch_seeds: str, streams: "_Streams"
    ) -> Tensor:
        if not index:
            return torch.empty(0, *shape, dtype=torch.float32)
        if batch_seeds == SINGLE:
            return self._draw_in_sequence(shape, index, streams.open(seed))
        seeds = [seed + i if batch_seeds == INCREMENT else seed for i in index]
        drawn = {s: self._draw_item(streams.open(s), shape) for s in dict.fromkeys(seeds)}
        return torch.stack([drawn[s] for s in seeds])

    def _draw_in_sequence(self, shape: tuple[int, ...], index: Sequence[int], normal: spectra.Normal) -> Tensor:
        if self.spectrum == spectra.WHITE and list(index) == list(range(len(index))):
            return normal((len(index), *shape))  # all at once, as core nodes do: its numbers come in another order
        drawn = [self._draw_item(normal, shape) for _ in range(max(index) + 1)]
        return torch.stack([drawn[i] for i in index])

    def _draw_item(self, normal: spectra.Normal, shape: tuple[int, ...]) -> Tensor:
        return spectra.draw(self.spectrum, normal, shape)


class _Streams:
    """Streams of white noise by their seeds. One that was opened goes on where it is."""

    def __init__(self, source: str):
        self.source = source
        self.opened: dict[int, spectra.Normal] = {}

    def open(self, seed: int) -> spectra.Normal:
        if seed not in self.opened:
            self.opened[seed] = _open_stream(self.source, seed)
        return self.opened[seed]


def _open_stream(source: str, seed: int) -> spectra.Normal:
    """A function from a shape to the next white noise of this seed."""
    start = int(seed) % SEEDS  # NumPy's numbers end before
    return partial(_draw_nvidia, NvidiaStream(start)) if source == NVIDIA else _cpu_stream(start)


def _cpu_stream(seed: int) -> spectra.Normal:
    return partial(torch.randn, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def _draw_nvidia(stream: NvidiaStream, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(stream.numbers(math.prod(shape))).reshape(shape)
