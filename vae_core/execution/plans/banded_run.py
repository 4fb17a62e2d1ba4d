"""Count what bands take, on one image run in a single band of tensors that have shapes but no numbers."""

import math
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from ...ops import AnyOp, Global, Near, Ops, Temporal, declared, list_norms
from ..bands.flows import read_flow
from ..bands.holding import Banding, Source
from ..bands.pinned import count_pages
from ..bands.state import Past
from ..bands.stores import OnDevice, StoredBand
from .backend import CONVOLVING, count_compiled, count_unfolded, find_forms
from .counting import ATTENDING, count_scores, count_work
from .replays import Kinds, Piece, Repeater, Replay
from .shapes import Census, ShapesOnly

HEIGHTS = 2  # of the bands that one convolution reads: most are of one height, the first and the last of others
# What starting a convolution takes on a CPU, as so many multiplications: to lay out one number of its weights, and all
# else. Measured in fp32 with AVX-512, at 85 billion a second: 512 channels of 8 x 8 pixels, and of 16 x 16.
AGAIN, START = 60, 20e6
REMEMBERED = 4  # activations alive at once while attention gathers what it remembers: the parts of k and v, and both


class BandedRun(Repeater, Census):
    """One image run in a single band, and what is counted meanwhile.

    work          multiplications
    widest        numbers in a row of the image at most, of any op's result
    lowest        numbers that the lowest band has at most: those of the rows that an op makes of one row, together
    remembered    bytes at most that attention makes while it gathers what it remembers
    attending     the same, with what is held then
    gathered      numbers at most of what it has gathered in one tensor, earlier frames included
    attended      for each attention that reads every pixel: (its channels, its pixels)
    scores        numbers of the largest matrix of scores of attention to the nearest pixels
    most_carried  numbers at most that flows keep from one band to the next
    around        numbers at most that one takes more than others while it makes a band
    norm_sizes    bytes that each group norm makes, by the norm's id
    unfolded      numbers that a convolution takes meanwhile for each that it reads or makes, where it unfolds its input
    made          numbers that each temporal op of a clip in parts makes, by its id
    shape         of the result, without its frames: (C, H, W)
    frames        of the result

    ops     as `fuse` makes them, on the meta device
    x       one image (1, C, H, W), or the frames of a clip (T, C, H, W), on the meta device
    side    what SideInputs read
    rows    of the image
    twice   group norms, by number among all of them, whose input is computed twice
    kinds   of the ops
    """

    def __init__(
        self, ops: Ops, x: Tensor, side: Tensor, rows: int, twice: tuple[int, ...], past: Past | None, kinds: Kinds
    ):
        super().__init__(kinds)
        self.store = store = _CountingStore()
        self.work = self.widest = self.unfolded = 0.0
        self.lowest = self.scores = 0
        self.near = False  # does an op run that reads the rows nearest by?
        self.remembered = self.attending = self.gathered = self.carried = self.most_carried = self.around = 0
        self.attended: list[tuple[int, int]] = []
        self.past = past
        self.rows = rows
        self.norm_sizes, self.made = dict[int, int](), dict[int, int]()
        self.convolved: list[tuple[int, int]] = []  # numbers that each convolution makes, and those of its weights
        self.before = 0  # how many of them had run when the last pass ended: all that is read twice had been made
        self.outer: list[int] = []  # what is carried in the passes that this one is nested in
        norms = list_norms(ops)
        banding = Banding(2**62, store, frozenset(id(norms[i]) for i in twice))
        banding = banding._replace(side_input=Source(side, banding), past=past)
        with torch.no_grad(), ShapesOnly(self):
            bands = read_flow(ops, Source(x, banding), banding, self)
            shapes = [band.shape for band in bands]
        self.frames = shapes[0][0]
        self.shape = (*shapes[0][1:2], sum(shape[-2] for shape in shapes), shapes[0][-1])

    def count_held(self, bands: int = 1, page: int = 1) -> int:
        """Bytes at most in the store if each image is put there in so many bands, in pages of so many bytes."""
        changes = (math.copysign(count_pages(abs(size), bands, page), size) for size in self.store.changes)
        return max(accumulate(map(int, changes)), default=0)

    def count_compiled(self, numbers: int) -> int:
        """Bytes that a CPU's backend keeps of the convolutions that it compiles for bands of so many numbers."""
        return count_compiled(sum(min(HEIGHTS, -(-made // numbers)) for made, _ in self.convolved))

    def count_starts(self, numbers: int) -> float:
        """What a CPU does for convolutions of bands of so many numbers beside multiplying, as many multiplications.

        All weights are laid out anew for each band.
        """
        return sum(-(-made // numbers) * (AGAIN * weights + START) for made, weights in self.convolved)

    def count_before(self, numbers: int) -> int:
        """How many convolutions of bands of so many numbers run until all that is read twice has been made."""
        return sum(-(-made // numbers) for made, _ in self.convolved[: self.before])

    def repeat(self, replay: Replay, read: Sequence[Tensor]) -> Any:
        self.convolved += replay.convolved
        return super().repeat(replay, read)

    def record(self, key: Hashable, function: Callable[..., Any], read: Sequence[Tensor]) -> Any:
        before = len(self.convolved)
        made = super().record(key, function, read)
        if key in self.replays:
            self.replays[key] = self.replays[key]._replace(convolved=tuple(self.convolved[before:]))
        return made

    def record_piece(self, piece: Piece, at: list[Tensor], function: Callable[[list[Tensor]], Any]) -> Any:
        work, before = self.work, len(self.convolved)
        made = super().record_piece(piece, at, function)
        piece.work = self.work - work
        if piece.replay:
            piece.replay = piece.replay._replace(convolved=tuple(self.convolved[before:]))
        return made

    def repeat_piece(self, piece: Piece, replay: Replay, at: list[Tensor]) -> Any:
        self.work += piece.work
        self.convolved += replay.convolved
        return super().repeat_piece(piece, replay, at)

    def begin_op(self, op: AnyOp) -> None:
        self.near = isinstance(op, Near)

    def see(self, name: str, made: Tensor, args: Sequence[Any]) -> None:
        if self.near and name == ATTENDING:
            self.scores = max(self.scores, count_scores(*args[:2]))
        if forms := find_forms(name, args):
            self.convolved += [(made.numel(), args[1].numel() // len(forms))] * len(forms)
        if name in CONVOLVING:
            unfolded = count_unfolded(name, made, args) / made.itemsize
            self.unfolded = max(self.unfolded, unfolded / max(made.numel(), args[0].numel()))

    def end_op(self, op: AnyOp, result: Tensor) -> None:
        self.work += count_work(op, result)
        self.widest = max(self.widest, result.numel() / self.rows)
        self.lowest = max(self.lowest, result.numel() // result.shape[-2] * declared(op).rows_per_step)
        if isinstance(op, nn.GroupNorm):
            self.norm_sizes[id(op)] = result.nbytes
        if self.past and isinstance(op, Temporal):
            self.made[id(op)] = result.numel()
        if isinstance(op, Global) and op.memory_grows:
            self.remembered = max(self.remembered, REMEMBERED * result.nbytes)
            self.attending = max(self.attending, REMEMBERED * result.nbytes + sum(self.store.changes))
            self.gathered = max(self.gathered, result.numel(), self.past.count_memory(op) if self.past else 0)
            pixels = result.numel() // result.shape[1]
            self.attended.append((result.shape[1], pixels if op.over_frames else pixels // len(result)))

    def begin_pass(self) -> None:
        self.outer.append(self.carried)

    def carry(self, numbers: int, around: int = 0) -> None:
        self.carried += numbers
        self.around = max(self.around, around)
        self.most_carried = max(self.most_carried, self.carried)

    def end_pass(self) -> None:
        self.carried = self.outer.pop()
        self.before = len(self.convolved)


class _CountingStore(OnDevice):
    """Counts the bytes that are held. changes: those of each band when it is put, and negative when it is released."""

    def __init__(self) -> None:
        self.changes: list[int] = []

    def put(self, band: Tensor) -> "_CountedBand":
        return _CountedBand(self, band)


class _CountedBand(StoredBand):
    def __init__(self, ledger: _CountingStore, band: Tensor):
        self.ledger, self.band, self.rows = ledger, band, band.shape[-2]
        ledger.changes.append(band.nbytes)

    def get(self) -> Tensor:
        return self.band

    def release(self) -> None:
        self.ledger.changes.append(-self.band.nbytes)
