"""Networks that are defined by pieces: images are cut into tiles, clips into chunks, and what is made of them blended.

Nothing here is approximate: such a network was trained, or at least released, so, and its image is the blended one. How
any other network may be run in tiles, approximately, is in execution/tiles.py.

Along a side of 40 cells, tiles of 16 that share at least 4 with the next; of what is left over more is shared:

    tile 1   0 ............ 15                    it is alone until the next begins, at 12
    tile 2              12 ............ 27        fades in from 12 to 15: 0, 1/4, 2/4, 3/4
    tile 3                          24 ............ 39
"""

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from ..devices.dtypes import at_least_fp32
from .rows import join
from .tree import Nest, Ops, Run


class Cut(NamedTuple):
    """A tile along one side of an image, in cells.

    start, end  what it reads
    shared      with the tile before it, from its start on
    shown       cells of the result from its start on, until the next begins
    """

    start: int
    end: int
    shared: int
    shown: int


def cut(length: int, side: int, overlap: int) -> list[Cut]:
    """Tiles of this side that cover a length, as few as can share `overlap` with the next. One if it is no longer."""
    if length <= side:
        return [Cut(0, length, 0, length)]
    count = -(-(length - overlap) // (side - overlap))
    each, more = divmod(side * count - overlap * (count - 1) - length, count - 1)
    shared = [overlap + each + (i < more) for i in range(count - 1)]
    starts = accumulate((side - one for one in shared), initial=0)
    return [
        Cut(start, start + side, before, side - after)
        for start, before, after in zip(starts, (0, *shared), (*shared, 0), strict=True)
    ]


def fade(before: Tensor, after: Tensor, length: int, dim: int) -> Tensor:
    """From the one to the other, linearly along a dimension, in fp32 at least; the first rows of a fade of `length`."""
    steps = torch.arange(after.shape[dim], dtype=at_least_fp32(after.dtype), device=after.device) / length
    steps = steps.view(-1, *(1,) * (after.ndim - 1 - dim % after.ndim))
    return before * (1 - steps) + after * steps


class Tiled(Nest):
    """Tiles of an image, each by itself. (B, C, n h, n w) -> (B, C', m h, m w)

    side     of a tile in cells, each of which is n x n of what is read and m x m of what is made
    overlap  cells that neighbours share, at least
    ratio    (n, m)

    A tile fades in over the one above it; then the tile on its left, as it was made, fades out over both.
    """

    def __init__(self, body: Ops, side: int, overlap: int, ratio: tuple[int, int]):
        self.body, self.side, self.overlap, self.ratio = body, side, overlap, ratio

    def cut(self, numbers: int) -> list[Cut]:
        """numbers: of rows or columns that are read"""
        return cut(numbers // self.ratio[0], self.side, self.overlap)

    def compute(self, x: Tensor, run: Run) -> Tensor:
        (n, m), row = self.ratio, TileRow(self, x.shape[-1])
        made: list[Tensor] = []

        def find_room(top: Cut, tile: Tensor) -> Tensor:
            if not made:
                made.append(make_room(tile, x.shape[-2] // n * m, x.shape[-1] // n * m))
            return made[0][..., top.start * m : (top.start + top.shown) * m, :]

        for top in self.cut(x.shape[-2]):
            row.run(x[..., top.start * n : top.end * n, :], top, run, find_room)
        return made.pop()


class TileRow:
    """One row of tiles after the other, from the top; of each is kept what the next fades in over.

    width: columns that are read
    """

    def __init__(self, op: Tiled, width: int):
        self.op, self.columns = op, op.cut(width)
        self.above: list[Tensor | None] = [None] * len(self.columns)

    def run(self, x: Tensor, top: Cut, run: Run, find_room: Callable[[Cut, Tensor], Tensor]) -> Tensor:
        """Run the tiles of rows x, (B, C, n h, n w), and write the rows that are theirs to the room for them.

        find_room: given the rows' place and the first tile
        """
        (n, m), room, left = self.op.ratio, None, None
        for i, column in enumerate(self.columns):
            piece = [x[..., column.start * n : column.end * n].contiguous(memory_format=torch.channels_last)]
            tile = run(self.op.body, piece)
            room = find_room(top, tile) if room is None else room
            own = room[..., column.start * m : (column.start + column.shown) * m]
            own.copy_(tile[..., : top.shown * m, : column.shown * m])
            fade_in(own, self.above[i], tile, top.shared * m, -2)
            fade_in(own, left, own, column.shared * m, -1)
            self.above[i] = _keep(tile[..., top.shown * m :, :])
            left = _keep(tile[..., column.shown * m :])
            del tile
        assert room is not None
        return room


def fade_in(place: Tensor, before: Tensor | None, after: Tensor, length: int, dim: int) -> None:
    """Write to the first rows or columns of a place how what was `before` fades into what comes after."""
    if before is None:
        return
    n, sizes = min(length, place.shape[dim]), list(place.shape)
    sizes[dim] = n
    first = [slice(size) for size in sizes]
    place[tuple(first)].copy_(fade(before[tuple(first)], after[tuple(first)], length, dim))


def _keep(x: Tensor) -> Tensor | None:
    """A copy of what a tile shares with the next; None: of nothing."""
    return x.clone(memory_format=torch.channels_last) if x.numel() else None


def make_room(like: Tensor, rows: int, columns: int, frames: int | None = None) -> Tensor:
    """For an image of so many rows and columns, or so many frames of them, with the channels of this one."""
    shape = (len(like) if frames is None else frames, like.shape[1], rows, columns)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


class Chunked(Nest):
    """Chunks of a clip, each by itself. (T, C, H, W) -> (T', C', H', W')

    size, step  frames of a chunk, and from one to the next
    made        frames of the result from one to the next; what a chunk makes beyond them fades into the next
    total       T -> T'. Of more that are made the last ones are dropped
    continues   is the last chunk filled up with the last frame? Else it has as many as are left
    """

    over_frames = True

    def __init__(
        self, body: Ops, size: int, step: int, made: int, total: Callable[[int], int], ratio: tuple[int, int],
        continues: bool = False,
    ):  # fmt: skip
        self.body, self.size, self.step, self.made, self.total = body, size, step, made, total
        self.ratio, self.continues = ratio, continues

    def compute(self, x: Tensor, run: Run) -> Tensor:
        y, shared = None, 0
        for i, start in enumerate(self._starts(len(x))):
            chunk = run(self.body, [self._read(x, start)])
            y = make_room(chunk, chunk.shape[-2], chunk.shape[-1], self.total(len(x))) if y is None else y
            place = y[i * self.made : i * self.made + len(chunk)]
            place[shared:].copy_(chunk[shared : len(place)])
            fade_in(place, place if shared else None, chunk, shared, 0)
            shared = len(chunk) - self.made
            del chunk
        assert y is not None
        return y

    def as_single_frame(self) -> Ops:
        return self.body

    def _starts(self, frames: int) -> Iterator[int]:
        alone = self.size - self.step
        return iter(range(0, max(1, frames - alone), self.step))

    def _read(self, x: Tensor, start: int) -> Tensor:
        chunk = x[start : start + self.size]
        missing = self.size - len(chunk) if self.continues else 0
        return join([chunk, chunk[-1:].expand(missing, *chunk.shape[1:])]) if missing else chunk
