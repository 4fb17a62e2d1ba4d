"""What an op did to memory, it does again where it reads tensors of the same shapes, and so does every op like it.

Most bands of an image are alike, and so are many layers. So such an op runs once in a count.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ...ops import AnyOp, Op, Ops
from ..whole import Observer
from .outlines import Outline, Storage

PLAIN = (int, float, str, bool, type(None), torch.dtype)
ENOUGH = 2  # runs on pieces of one shape that are counted
# Of an op: what it is a copy of; and what torch notes of each of its modules beside parameters, buffers and submodules.
NOT_READ = frozenset(
    {
        "original",
        "training",
        *(name for name in vars(nn.Module()) if name not in ("_parameters", "_buffers", "_modules")),
    }
)


class Replay(NamedTuple):
    """What an op made of what it read, and took meanwhile.

    made       the shape, dtype and strides of the result
    read       which tensor it is a view of; None: it has a storage of its own
    itself     is it that tensor?
    size       bytes of the storage
    views      is it a view of a tensor that the op made first?
    most       bytes at most beside what was there before, of tensors
    on_cpu     the same, with what a CPU takes beside them within torch's functions
    convolved  what a BandedRun notes of its convolutions
    """

    made: tuple[torch.Size, torch.dtype, tuple[int, ...] | None]
    read: int | None
    itself: bool
    size: int
    views: bool
    most: int
    on_cpu: int
    convolved: tuple[tuple[int, int], ...] = ()

    def make(self, read: Sequence[Any]) -> Any:
        """Such a result."""
        if self.read is None:
            return Outline(*self.made, storage=Storage(self.size))
        return read[self.read] if self.itself else Outline(*self.made, storage=read[self.read].untyped_storage())


class Piece:
    """What running ops on pieces of one shape takes, see `Repeater.run_piece`.

    ops   of whom this is true; kept, so that no others get their id
    runs  that were counted
    work  multiplications
    """

    def __init__(self, ops: Ops):
        self.ops, self.runs, self.work = ops, 0, 0.0
        self.replay: Replay | None = None


class Kinds:
    """Which ops are alike. Each is described once, for all counts of the same ops."""

    def __init__(self) -> None:
        self.known = dict[int, tuple[object, AnyOp]]()  # by id: the kind, and the op, so that no other gets its id
        self.described = dict[Hashable, object]()

    def find(self, op: AnyOp) -> object:
        """Its kind: the same for all that are alike, also if several threads ask."""
        known = self.known.get(id(op))
        if known is None:
            known = self.known[id(op)] = self.described.setdefault(describe(op), object()), op
        return known[0]


class Repeater(Observer):
    """Runs an op once for all like it that read tensors of the same shapes."""

    def __init__(self, kinds: Kinds | None = None):
        self.kinds = Kinds() if kinds is None else kinds
        self.replays = dict[Hashable, Replay]()  # by kind and by what was read
        self.pieces = dict[Hashable, Piece]()  # by the id of their ops and by what was read

    def run_op(self, op: AnyOp, function: Callable[..., Tensor], *read: Tensor) -> Tensor:
        self.begin_op(op)
        key = self.kinds.find(op), function, *map(describe_tensor, read)
        replay = self.replays.get(key)
        made: Any = self.repeat(replay, read) if replay else self.record(key, partial(function, op), read)
        self.end_op(op, made)
        return cast(Tensor, made)

    def run_piece(self, ops: Ops, at: list[Tensor], function: Callable[[Ops, list[Tensor]], Tensor]) -> Tensor:
        """Pieces of one shape are run twice: when the second is, what is kept of those before it is there, too."""
        key = id(ops), describe_tensor(at[0])
        piece = self.pieces.setdefault(key, Piece(ops))
        if piece.runs < ENOUGH or piece.replay is None:
            return self.record_piece(piece, at, partial(function, ops))
        made: Any = self.repeat_piece(piece, piece.replay, at)
        return cast(Tensor, made)

    def record_piece(self, piece: Piece, at: list[Tensor], function: Callable[[list[Tensor]], Any]) -> Any:
        """What the function makes of the piece, and how."""
        made = function(at)
        piece.runs += 1
        if type(made) is Outline:
            piece.replay = note(made, ())
        return made

    def repeat_piece(self, piece: Piece, replay: Replay, at: list[Tensor]) -> Any:
        """What was made of such a piece before."""
        at.clear()
        return replay.make(())

    def repeat(self, replay: Replay, read: Sequence[Tensor]) -> Any:
        """What was made of such tensors before."""
        return replay.make(read)

    def record(self, key: Hashable, function: Callable[..., Any], read: Sequence[Tensor]) -> Any:
        """What the function makes; and how, for the next time, if nothing is left but the result."""
        made = function(*read)
        if type(made) is Outline:
            self.replays[key] = note(made, read)
        return made


def note(made: Outline, read: Sequence[Any], most: int = 0, on_cpu: int = 0, views: bool = False) -> Replay:
    """How this was made of what was read. The last three are those of the replay."""
    source = find_read(made, read)
    size = 0 if source is not None else made.storage.nbytes()
    itself = source is not None and made is read[source]
    return Replay((made.shape, made.dtype, made.steps), source, itself, size, views, most, on_cpu)


def find_read(made: Any, read: Sequence[Any]) -> int | None:
    """Which of these tensors is it a view of?"""
    key = made.untyped_storage()._cdata
    return next((i for i, x in enumerate(read) if x.untyped_storage()._cdata == key), None)


def describe_tensor(x: Any) -> Hashable:
    """All that a function can see of a tensor without numbers."""
    return x.shape, x.dtype, x.steps if type(x) is Outline else x.stride()


def describe(op: AnyOp) -> Hashable:
    """All that an op's work on such tensors depends on: the same for two layers of the same kind and the same sizes."""
    if not isinstance(op, (Op, nn.Module)):
        return id(op)
    return type(op), *((name, _describe(x)) for name, x in vars(op).items() if name not in NOT_READ)


def _describe(x: Any) -> Hashable:
    if type(x) in PLAIN:
        return x
    if isinstance(x, Tensor):
        return describe_tensor(x)
    if type(x) is tuple:
        return tuple(map(_describe, x))
    if type(x) is dict:
        return tuple((name, _describe(one)) for name, one in x.items())
    return describe(x)
