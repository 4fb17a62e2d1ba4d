"""Attention of each pixel of a clip to those nearest to it, in frames, rows and columns.

Hassani et al. 2023, "Neighborhood Attention Transformer" (https://arxiv.org/abs/2204.07143), as NATTEN's `na3d` has it:
every pixel sees as many others, those of the window around it. At a border the window is moved inward, not cut off. So
a clip that is smaller than the window is seen as a whole.

    row of a window of 5 rows, of 8:   0  1  2  3  4  5  6  7
    it begins at                       0  0  0  1  2  3  3  3

Queries are taken in blocks, whose windows have most in common: each block meets all that any of its queries sees, and
what one does not see is masked. Blocks of one row that see alike are computed together.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from .attention import attend
from .tree import Op, Ops

BLOCK = (4, 8, 8)  # queries of a block: frames, rows, columns
AT_ONCE = 2**23  # numbers at most of the keys that blocks meet together


class Near(Op):
    """An op that reads the `reach` rows nearest to its own; see tree.py. (T, C, H, W) -> (T, C', H, W)

    Of the image's rows it may be given those alone that some of its own see: it makes of them what it makes of all.

    over_frames  does it read other frames of a clip?
    """

    reach: int = 1
    over_frames: bool = True

    def compute_rows(self, x: Tensor, first: int, count: int) -> Tensor:
        """So many rows of the result, from the first on. (T, C, n, W) -> (T, C', count, W)"""
        raise NotImplementedError

    def as_single_frame(self) -> Ops:
        """What it comes to on images, that is on clips of one frame. One that reads other frames must say."""
        if self.over_frames:
            raise NotImplementedError
        return (self,)

    def work(self, made: Tensor) -> float:
        """Multiplications for what was made, (T, C', n, W): those of all bands together are those of the image."""
        raise NotImplementedError


def count_gathered(shape: Sequence[int], kernel: Sequence[int]) -> int:
    """Numbers at most of what blocks meet together, of keys and values of this shape: (T, n, W, C).

    And of their queries, which are few beside them: a quarter of it at most.
    """
    met = [min(length, side + n - 1) for length, side, n in zip(shape, BLOCK, kernel, strict=False)]
    block = math.prod(met) * shape[-1]
    row = -(-shape[2] // BLOCK[2]) * block
    return 9 * min(row, max(block, AT_ONCE)) // 4


def begin_window(at: int, reach: int, length: int) -> int:
    """The first of the `reach` places, of `length`, that the one at `at` sees. reach: no more than there are"""
    return min(max(at - reach // 2, 0), length - reach)


class Span(NamedTuple):
    """Queries of a block along one axis, and all that they see.

    start, end  the queries
    low, high   what they see
    begins      where the window of each begins, counted from `low`
    """

    start: int
    end: int
    low: int
    high: int
    begins: tuple[int, ...]

    @property
    def seen(self) -> int:
        return self.high - self.low

    @property
    def sees(self) -> tuple[int, tuple[int, ...]]:
        """All that its mask depends on."""
        return self.seen, self.begins


Together = tuple[Span, Span, list[Span]]  # frames and rows of blocks, and their columns: neighbours that see alike


@lru_cache(maxsize=256)
def cut_axis(first: int, end: int, length: int, reach: int, side: int) -> tuple[Span, ...]:
    """Blocks of `side` queries, from the first to before the end, along an axis of this length."""
    made = list[Span]()
    for start in range(first, end, side):
        stop = min(start + side, end)
        begins = [begin_window(at, reach, length) for at in range(start, stop)]
        made.append(Span(start, stop, begins[0], begins[-1] + reach, tuple(b - begins[0] for b in begins)))
    return tuple(made)


def attend_nearby(
    q: Tensor, k: Tensor, v: Tensor, kernel: Sequence[int], first: int = 0, block: Sequence[int] = BLOCK
) -> Tensor:
    """softmax(q k^T / sqrt(C)) v of each query over the window around it, exactly.

    q       (T, m, W, heads, C), from row `first` on of those of k
    k, v    (T, n, W, heads, C)
    kernel  frames, rows and columns of a window; of an axis that has fewer, all
    block   frames, rows and columns of the queries that are taken together
    Returns (T, m, W, heads, C).
    """
    lengths = k.shape[:3]
    reach = [min(n, length) for n, length in zip(kernel, lengths, strict=True)]
    ends = lengths[0], first + q.shape[1], lengths[2]
    axes = [cut_axis(*axis) for axis in zip((0, first, 0), ends, lengths, reach, block, strict=True)]
    y, masks = torch.empty_like(q), _Masks(reach, q)
    for frames, rows, columns in _list_blocks(axes, k.shape[-1] * k.shape[-2], largest=q.is_meta):
        place = (slice(frames.start, frames.end), slice(rows.start - first, rows.end - first),
                 slice(columns[0].start, columns[-1].end))  # fmt: skip
        _attend_blocks(q[place], k, v, (frames, rows, columns), masks, y[place])
    return y


def _attend_blocks(q: Tensor, k: Tensor, v: Tensor, where: Together, masks: "_Masks", y: Tensor) -> None:
    """Write to y what blocks of one row make of their queries, (t, m, columns, heads, C)."""
    frames, rows, columns = where
    keys, values = (_gather(x, frames, rows, columns) for x in (k, v))
    place = _cut(q, len(columns))
    made = attend(place.flatten(2, 4), keys, values, masks.find(frames, rows, columns[0]))
    _cut(y, len(columns)).copy_(made.unflatten(2, place.shape[2:5]))


def _list_blocks(axes: Sequence[Sequence[Span]], width: int, largest: bool = False) -> Iterator[Together]:
    """All blocks, in the order in which what they see changes least.

    width    numbers of a key
    largest  only those that meet most, for a count of what they take
    """
    frames, rows, columns = axes
    if largest:
        frames, rows = ([max(spans, key=lambda span: span.seen)] for spans in (frames, rows))
    groups = list(_group(columns, max(one.seen for one in frames) * max(one.seen for one in rows) * width))
    for group in [max(groups, key=_count_seen)] if largest else groups:
        for row in rows:
            for frame in frames:
                yield frame, row, group


def _group(columns: Sequence[Span], numbers: int) -> Iterator[list[Span]]:
    """Neighbours that see alike, as many as may be computed together. numbers: of the keys of one column"""
    for _, alike in groupby(columns, lambda span: (span.low - span.start, span.sees)):
        left = list(alike)
        most = max(1, AT_ONCE // (numbers * left[0].seen))
        while left:
            yield left[:most]
            del left[:most]


def _count_seen(columns: list[Span]) -> int:
    """Keys of one row that these blocks meet, together."""
    return columns[0].seen * len(columns)


class _Masks:
    """What is added to the scores of a block: 0 where a query sees a key, -inf elsewhere; None: each sees all.

    Made once for blocks that agree and come one after the other.

    like: of the dtype and on the device of the scores
    """

    def __init__(self, reach: Sequence[int], like: Tensor):
        self.reach, self.like = reach, like
        self.axes = dict[tuple[object, int], Tensor]()  # of one axis each: few numbers
        self.last: tuple[object, Tensor | None] = None, None

    def find(self, *spans: Span) -> Tensor | None:
        """(queries, keys), for frames, rows and columns"""
        sees = tuple(span.sees for span in spans)
        if self.last[0] != sees:
            self.last = None, None  # so that it goes before the next is made
            self.last = sees, self._make(spans) if any(any(span.begins) for span in spans) else None
        return self.last[1]

    def _make(self, spans: Sequence[Span]) -> Tensor:
        t, h, w = (self._find_axis(span, reach) for span, reach in zip(spans, self.reach, strict=True))
        hidden = t[:, None, None, :, None, None] + h[None, :, None, None, :, None] + w[None, None, :, None, None, :]
        return hidden.flatten(3).flatten(0, 2)

    def _find_axis(self, span: Span, reach: int) -> Tensor:
        key = span.sees, reach
        if key not in self.axes:
            self.axes[key] = _hide(span, reach, self.like)
        return self.axes[key]


def _hide(span: Span, reach: int, like: Tensor) -> Tensor:
    """(queries, keys) of one axis."""
    if like.is_meta:
        return like.new_empty(len(span.begins), span.seen)
    places = torch.arange(span.seen, device="cpu")
    begins = torch.tensor(span.begins, device="cpu")[:, None]
    hidden = torch.zeros(len(begins), len(places), dtype=like.dtype, device="cpu")
    hidden.masked_fill_((places < begins) | (places >= begins + reach), -math.inf)
    return hidden.to(like.device, non_blocking=like.device.type == "cuda")


def _gather(x: Tensor, frames: Span, rows: Span, columns: list[Span]) -> Tensor:
    """What each of these blocks meets, (T, n, W, heads, C) -> (blocks, heads, keys, C)"""
    part = x[frames.low : frames.high, rows.low : rows.high, columns[0].low : columns[-1].high]
    own = columns[0]
    met = part.unfold(2, own.seen, max(1, own.end - own.start))  # (Kt, Kh, blocks, heads, C, Kw)
    return met.permute(2, 3, 0, 1, 5, 4).flatten(2, 4)


def _cut(x: Tensor, blocks: int) -> Tensor:
    """(t, m, blocks * w, heads, C) -> (blocks, heads, t, m, w, C), a view"""
    return x.unflatten(2, (blocks, -1)).permute(2, 4, 0, 1, 3, 5)
