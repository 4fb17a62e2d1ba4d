"""Count what a run makes, holds and works, on tensors that have shapes but no numbers.

The executors themselves run, on the meta device, with an observer that counts.
"""

import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...ops import AnyOp, DoublingConv, Global, Near, OneFrame, Ops, has_side_inputs
from .. import whole
from ..bands.state import Past
from .backend import COUNTED, NORMS, count_compiled, count_of_norm, count_scratch, count_unfolded, find_forms
from .outlines import Outline
from .replays import Kinds, Piece, Repeater, Replay, note
from .shapes import Census, ShapesOnly

# Gaps that tensors of many sizes leave in the heap of a CPU between what was there before an op: what the op itself
# takes comes to lie in them, or in memory that goes back when it ends. Runs are quick with these; beyond them they are
# given back (`heap` of a Plan), which costs time: what is used again has to be cleared anew. See benchmarks/budgets.py.
# Bands that are read from a disk are made anew each time, and leave more of them.
GAPS, GAPS_ON_DISK, MOST_GAPS = 0.2, 0.3, 40 * 2**20  # of what was there; bytes

ATTENDING = "scaled_dot_product_attention"  # torch's function


class WholeRun(NamedTuple):
    """What running whole takes.

    peak     bytes of activations at most alive at once
    on_cpu   the same, with what a CPU takes beside them within torch's functions
    gaps     bytes that the heap has more when it has most, see GAPS
    surge    bytes at most that come from one op to the next
    compiled bytes that a CPU's backend keeps, of the convolutions that it has compiled
    by_peak  the share of them that raises the peak of a first run, see `LiveBytes.compiled_by_peak`
    work     multiplications, see count_work
    shape    of the result
    largest  numbers of the largest tensor
    scores   numbers of the largest matrix of attention scores, on devices that make them
    """

    peak: int
    on_cpu: int
    gaps: int
    surge: int
    compiled: int
    by_peak: float
    work: float
    shape: tuple[int, ...]
    largest: int
    scores: int


@torch.no_grad()
def count_whole(
    ops: Ops, x: Tensor, side_input: Tensor | None = None, past: Past | None = None, kinds: Kinds | None = None,
    unfolds: bool = False,
) -> WholeRun:  # fmt: skip
    """What `whole.run(ops, x, side_input=side_input, past=past, in_place=True)` takes.

    x, side_input: on the meta device, (B, C, H, W); a side input of its own is the caller's, and not counted.
    kinds: of the ops, if they are counted more than once. unfolds: see `ops.unfolds`.
    Counts all tensors that ops make, those that they need only meanwhile too. What torch makes within one of its
    functions is its own affair.
    Raises RuntimeError for more numbers than torch can count.
    """
    count = WholeCount(kinds=kinds, unfolds=unfolds)
    at = [count.add(torch.empty(x.shape, dtype=x.dtype, device=x.device))]  # `empty_like` would load torch's compiler
    side_input = at[0] if side_input is None and has_side_inputs(ops) else side_input
    with ShapesOnly(count):
        result = whole.run_ops(ops, at, whole.RunContext(count, side_input, past, True))
    return WholeRun(
        count.most,
        int(count.most_on_cpu),
        int(count.gaps),
        count.surge,
        count_compiled(len(count.forms)),
        count.compiled_by_peak,
        count.work,
        tuple(result.shape),
        count.largest,
        count.scores,
    )


class LiveBytes(Repeater, Census):
    """Counts the memory of all tensors, from when one is made until nobody holds it.

    most         bytes at most of tensors
    most_on_cpu  with what a CPU takes beside them within torch's functions, and with `beyond`
    most_spread  the same, with gaps in the heap
    held, beyond bytes in a store now; and what would be there too if an image were run of which only the top is
    passing      as `most_on_cpu`, without what is held
    surge        bytes at most that come from one op to the next
    most_in_all  bytes at most alive on a CPU with what its backend has compiled by then
    forms        of convolutions that it has compiled

    taller  times what is run: the image of which it is the top
    leaves  bytes of gaps for a byte that was there before an op
    unfolds  does the device unfold what convolutions read, see `ops.unfolds`?
    """

    def __init__(
        self, taller: float = 1, leaves: float = GAPS, kinds: Kinds | None = None, unfolds: bool = False
    ) -> None:
        super().__init__(kinds)
        self.taller, self.leaves, self.unfolds = taller, leaves, unfolds
        self.now = self.most = self.before = self.surge = self.held = self.passing = 0
        self.most_on_cpu = self.most_spread = self.most_in_all = self.beyond = 0.0
        self.forms = set[tuple[Any, ...]]()
        self.looks = True
        self.largest = self.scores = 0
        self.known = dict[int, tuple[int, Any]]()  # by storage: the tensor it was made for, and who waits for its end

    def begin_op(self, op: Any) -> None:
        self.before = self.now  # what the op reads is among it, and may be gone when the op ends

    def repeat(self, replay: Replay, read: Sequence[Tensor]) -> Any:
        self.grow(0, replay.most, replay.on_cpu - replay.most)
        made = super().repeat(replay, read)
        if replay.read is None:
            self.add(made, views=replay.views)
        return made

    def record(self, key: Hashable, function: Callable[..., Any], read: Sequence[Tensor]) -> Any:
        start, most, passing = self.now, self.most, self.passing
        self.most, self.passing = start, start - self.held
        made = function(*read)
        rises = self.most - start, self.passing + self.held - start
        self.most, self.passing = max(most, self.most), max(passing, self.passing)
        if type(made) is Outline:
            found = note(made, read, *rises, views=not self._is_owner(made))
            if self.now == start + found.size:
                self.replays[key] = found
        return made

    def repeat_piece(self, piece: Piece, replay: Replay, at: list[Tensor]) -> Any:
        self.before = self.now + replay.most  # it did not come at once
        self.grow(0, replay.most, replay.on_cpu - replay.most)
        return self.add(super().repeat_piece(piece, replay, at))

    def record_piece(self, piece: Piece, at: list[Tensor], function: Callable[[list[Tensor]], Any]) -> Any:
        start, most, passing = self.now, self.most, self.passing
        self.most, self.passing = start, start - self.held
        made = super().record_piece(piece, at, function)
        rises = {"most": self.most - start, "on_cpu": self.passing + self.held - start}
        self.most, self.passing = max(most, self.most), max(passing, self.passing)
        piece.replay = piece.replay and piece.replay._replace(**rises)
        return made

    def _is_owner(self, x: Any) -> bool:
        """Was its storage made for this very tensor?"""
        known = self.known.get(x.untyped_storage()._cdata)
        return known is not None and known[0] == id(x)

    def end_op(self, op: Any, result: Tensor) -> None:
        if not self._is_owner(result):  # not in place, or a view
            # which counts as a copy while the op runs: for other layouts it makes one
            self.grow(0, self.before - self.now + result.nbytes)

    def see(self, name: str, made: Tensor, args: Sequence[Any]) -> None:
        self.largest = max(self.largest, made.numel())
        if name == ATTENDING:
            self.scores = max(self.scores, count_scores(*args[:2]))
        key = made.untyped_storage()._cdata
        if key not in self.known and not _is_read(key, args):
            self.add(made)  # otherwise it is a view: of this, or of weights
        if name in COUNTED:
            self.forms.update(find_forms(name, args, self.taller))
            unfolded = count_unfolded(name, made, args) if self.unfolds else 0
            self.largest = max(self.largest, unfolded // made.itemsize)
            self.grow(0, unfolded, count_scratch(name, made, args, self.taller))
        elif name in NORMS:
            self.grow(0, count_of_norm(name, made, args[1]))

    def add(self, x: Tensor, views: bool = False) -> Tensor:
        """There is this tensor, too; views: of one that is gone."""
        storage = x.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return x
        size = storage.nbytes() if self.looks else 0
        self.known[key] = 0 if views else id(x), weakref.ref(storage, partial(self._remove, key, size))
        self.grow(size)
        return x

    def grow(self, size: int, meanwhile: int = 0, scratch: int = 0) -> None:
        """There are so many bytes more, or fewer, and for a moment others beside them; scratch: on a CPU."""
        self.now += size
        now = self.now + meanwhile
        if now > self.most:
            self.most = now
        now += scratch
        if now - self.held > self.passing:
            self.passing = now - self.held
        if now - self.before > self.surge:
            self.surge = now - self.before
        now += self.beyond
        if now > self.most_on_cpu:
            self.most_on_cpu = now
        gaps = min(self.leaves * (self.before + self.beyond), MOST_GAPS)
        if now + gaps > self.most_spread:
            self.most_spread = now + gaps
        self.note(now)

    def note(self, alive: float) -> None:
        """So many bytes are alive on a CPU."""
        self.most_in_all = max(self.most_in_all, alive + count_compiled(len(self.forms)))

    @property
    def gaps(self) -> float:
        """Bytes that gaps in the heap add to `most_on_cpu`."""
        return self.most_spread - self.most_on_cpu

    @property
    def compiled_by_peak(self) -> float:
        """The share of what the backend compiles that raises the peak of a first run: it compiles while it runs."""
        return (self.most_in_all - self.most_on_cpu) / (count_compiled(len(self.forms)) or 1)

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """What is made within is counted by somebody else."""
        self.looks = False
        try:
            yield
        finally:
            self.looks = True

    def _remove(self, key: int, size: int, _: Any) -> None:
        del self.known[key]
        self.now -= size


def count_scores(q: Tensor, k: Tensor) -> int:
    """Numbers of the matrix of all scores of queries and keys, (..., queries, C) and (..., keys, C)."""
    return q.numel() // q.shape[-1] * k.shape[-2]


def _is_read(key: int, args: Sequence[Any]) -> bool:
    """Does one of these tensors lie in this storage?"""
    return any((type(x) is Outline or isinstance(x, Tensor)) and x.untyped_storage()._cdata == key for x in args)


class WholeCount(LiveBytes):
    """Counts the work too."""

    work = 0.0

    def record_piece(self, piece: Piece, at: list[Tensor], function: Callable[[list[Tensor]], Any]) -> Any:
        before = self.work
        made = super().record_piece(piece, at, function)
        piece.work = self.work - before
        return made

    def repeat_piece(self, piece: Piece, replay: Replay, at: list[Tensor]) -> Any:
        self.work += piece.work
        return super().repeat_piece(piece, replay, at)

    def end_op(self, op: Any, result: Tensor) -> None:
        super().end_op(op, result)
        self.work += count_work(op, result)


def count_work(op: AnyOp, made: Tensor) -> float:
    """Multiplications an op takes for what it has made, (B, C, H, W); of ops that do little, the numbers they make."""
    if isinstance(op, (Global, Near)):
        return op.work(made)
    if isinstance(op, DoublingConv):
        return made.numel() * op.original.in_channels * 4
    numbers = made.numel()
    return float(max(numbers // made.shape[1] * _count_taps(op), numbers))


def _count_taps(op: AnyOp) -> int:
    if isinstance(op, (nn.Conv2d, nn.Conv3d, OneFrame)):  # most of all ops; to list the parameters of a module is slow
        return op.weight.numel()
    weights = op.parameters() if isinstance(op, nn.Module) else ()
    return sum(w.numel() for w in weights if w.ndim > 1)
