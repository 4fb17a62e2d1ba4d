"""What ops know of earlier frames while a clip is run in parts."""

from collections import deque

import torch
from torch import Tensor

from ...ops import Global, Residual, Temporal, join
from .readers import ROWS, Rows, height, numbers_per_row
from .stores import OnDevice, Store, StoredBand


class Past:
    """What ops know of the parts of a clip before this one.

    known     for every temporal op, by id: bands of what its `advance` gave, in the store; for every residual block
              whose body is behind, bands of the skip's frames that wait for it
    memories  for every attention that looks back, by id: what it remembers of each part; this grows with the clip
    ending    ids of the ops that look ahead for which the clip ends with this part
    most_frames  of a part that each of these was given, by id
    numbers   at most in one band of what is known, if they are brought back from elsewhere
    """

    def __init__(self, store: Store, numbers: int = 2**62):
        self.store, self.numbers = store, numbers
        self.ending: frozenset[int] = frozenset()
        self.most_frames: dict[int, int] = {}
        self.known: dict[int, list[StoredBand]] = {}
        self.memories: dict[int, list[tuple[StoredBand, ...]]] = {}

    def copy(self, store: Store) -> "Past":
        """The same in another store: of the two, each may be read."""
        twin = Past(store, self.numbers)
        twin.ending, twin.most_frames = self.ending, dict(self.most_frames)
        twin.known = {key: [store.put(one.get()) for one in bands] for key, bands in self.known.items()}
        parts = self.memories.items()
        twin.memories = {key: [tuple(store.put(one.get()) for one in part) for part in all_] for key, all_ in parts}
        return twin

    def put(self, rows: Tensor) -> StoredBand:
        return self.store.put(rows) if rows.numel() else OnDevice().put(rows)  # no frames: a mark that there were some

    def put_pieces(self, rows: Tensor) -> list[StoredBand]:
        """As `put`, as several bands if there are more numbers than are to be in one.

        The first part of a clip has fewer frames than others, so its bands are taller, up to as often as a latent frame
        has frames. Each is read back as a whole, and of all ops together that took more than all else.
        """
        if not rows.numel():
            return [self.put(rows)]
        return list(map(self.put, rows.split(height(numbers_per_row(rows), self.numbers), ROWS)))

    def keep(self, op: Temporal | Residual, held: list[StoredBand]) -> None:
        self.known[id(op)] = held

    def take(self, op: Temporal | Residual) -> Rows | None:
        """What `keep` was given: bands from the top, each released when it is read; None at the start of a clip."""
        held = self.known.pop(id(op), None)
        return None if held is None else _read(deque(held))

    def ends(self, op: object) -> bool:
        """Does the clip end for this op with this part?"""
        return id(op) in self.ending

    def step(self, op: Temporal, x: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
        """The op's result for the next frames or the last, and what it is to know later, as `Temporal.advance`."""
        if op.ahead and len(x) > self.most_frames.get(id(op), 0):
            self.most_frames[id(op)] = len(x)
        return op.end(x, known) if self.ends(op) else op.advance(x, known)

    def advance(self, op: Temporal, x: Tensor) -> Tensor:
        """The op's result for the next frames, all their rows: (T, C, H, W) -> (T', C', H', W')."""
        y, past = self.step(op, x, self._take_whole(op))
        self.keep(op, [self.put(past)])
        return y

    def match(self, op: Residual, skip: Tensor, frames: int) -> Tensor:
        """As many frames of the skip as the body has made, all their rows; the others wait for the next part.

        skip: (T, C, H, W), with no frame if none came. A body that looks ahead is behind, so some may have waited.
        """
        known = self._take_whole(op)
        if known is None and len(skip) == frames:
            return skip
        now, later = match_frames(known, skip, frames)
        self.keep(op, [self.put(later)])
        return now

    def _take_whole(self, op: Temporal | Residual) -> Tensor | None:
        known = self.take(op)
        return None if known is None else torch.cat(list(known), ROWS)

    def extend_memory(self, op: Global, memory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the op remembers of all frames so far, with these of the next: tensors (T, heads, pixels, C)."""
        so_far = self.memories.setdefault(id(op), [])
        so_far.append(tuple(self.put(each) for each in memory))
        if len(so_far) == 1:
            return memory
        return tuple(torch.cat([held.get() for held in each]) for each in zip(*so_far, strict=True))

    def count_memory(self, op: Global) -> int:
        """Numbers of the largest tensor that `extend_memory` has made for this op; 0 if it has made none."""
        parts = self.memories.get(id(op), [])
        return max((sum(held.get().numel() for held in each) for each in zip(*parts, strict=True)), default=0)

    @property
    def row_bytes(self) -> dict[int, int]:
        """Bytes of what each op knows, by its id, without the memories of attention."""
        return {key: sum(held.get().nbytes for held in bands) for key, bands in self.known.items()}

    @property
    def memory_bytes(self) -> int:
        return sum(held.get().nbytes for parts in self.memories.values() for part in parts for held in part)


def match_frames(known: Tensor | None, skip: Tensor | None, frames: int) -> tuple[Tensor, Tensor]:
    """So many frames of those that have waited and those that come, (T, C, rows, W); and those that are left over."""
    parts = [x for x in (known, skip) if x is not None and len(x)]
    seen = join(parts) if len(parts) > 1 else next(iter(parts), known)
    assert seen is not None and len(seen) >= frames, "a skip looks ahead further than its body"
    return seen[:frames], seen[frames:].clone()


def _read(held: deque[StoredBand]) -> Rows:
    """Not fetched ahead: all ops of a resolution read their own at the same time."""
    while held:
        one = held.popleft()
        band = [one.get()]
        one.release()
        yield band.pop()
