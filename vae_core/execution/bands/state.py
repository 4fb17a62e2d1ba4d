"""What ops know of earlier frames while a clip is run in parts."""

from collections import deque

import torch
from torch import Tensor

from ...ops import Global, Temporal
from .readers import ROWS, Rows
from .stores import OnDevice, Store, StoredBand


class Past:
    """What ops know of the parts of a clip before this one.

    known     for every temporal op, by id: bands of what its `advance` gave, in the store
    memories  for every attention that looks back, by id: what it remembers of each part; this grows with the clip
    """

    def __init__(self, store: Store):
        self.store = store
        self.known: dict[int, list[StoredBand]] = {}
        self.memories: dict[int, list[tuple[StoredBand, ...]]] = {}

    def copy(self, store: Store) -> "Past":
        """The same in another store: of the two, each may be read."""
        twin = Past(store)
        twin.known = {key: [store.put(one.get()) for one in bands] for key, bands in self.known.items()}
        parts = self.memories.items()
        twin.memories = {key: [tuple(store.put(one.get()) for one in part) for part in all_] for key, all_ in parts}
        return twin

    def put(self, rows: Tensor) -> StoredBand:
        return self.store.put(rows) if rows.numel() else OnDevice().put(rows)  # no frames: a mark that there were some

    def keep(self, op: Temporal, held: list[StoredBand]) -> None:
        self.known[id(op)] = held

    def take(self, op: Temporal) -> Rows | None:
        """What `keep` was given: bands from the top, each released when it is read; None at the start of a clip."""
        held = self.known.pop(id(op), None)
        return None if held is None else _read(deque(held))

    def advance(self, op: Temporal, x: Tensor) -> Tensor:
        """The op's result for the next frames, all their rows: (T, C, H, W) -> (T', C', H', W')."""
        known = self.take(op)
        y, past = op.advance(x, None if known is None else torch.cat(list(known), ROWS))
        self.keep(op, [self.put(past)])
        return y

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
    def row_bytes(self) -> int:
        """Bytes of all that is known, without the memories of attention."""
        return sum(held.get().nbytes for bands in self.known.values() for held in bands)

    @property
    def memory_bytes(self) -> int:
        return sum(held.get().nbytes for parts in self.memories.values() for part in parts for held in part)


def _read(held: deque[StoredBand]) -> Rows:
    while held:
        one = held.popleft()
        band = [one.get()]
        one.release()
        yield band.pop()
