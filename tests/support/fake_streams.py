"""Streams of a CUDA device that is not there: what may happen at the same time there, and whether that is a race.

Whether two accesses to the same memory are in order is asked of torch's own sanitizer (torch.cuda._sanitizer). It is
told of memory that is given out again too: by torch's allocator in the order of the stream that asked for it.
"""

import contextlib
import traceback
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from types import SimpleNamespace
from typing import Any

from torch import Tensor
from torch.cuda._sanitizer import EventHandler
from torch.utils._pytree import tree_leaves

COMPUTING = 0  # the id of the stream that is there from the beginning
COPIES = {"_to_copy", "copy_"}
NO_KERNEL = ("prim.", "empty", "detach", "lift")


class Streams:
    """What every stream does.

    races     what the sanitizer says
    copies    on each stream: how many between the device and the host
    clock     for each stream: when it is done, if a kernel and a copy take 1 each
    works     how many kernels and copies there were, and so how long they take one after the other
    pinned    bytes of memory of the host that is pinned: at most
    """

    def __init__(self) -> None:
        self.handler = EventHandler()
        self.stack = [Stream(self, COMPUTING)]
        self.made = COMPUTING
        self.owners: dict[int, int] = {}  # which stream asked for the memory of each storage
        self.pinned_now = 0
        self.begin()

    def begin(self) -> None:
        """Begin again: of what was before, only what is alive still counts."""
        self.races: list[str] = []
        self.copies = Counter[int]()
        self.clock = dict[int, float]()
        self.works, self.pinned = 0, self.pinned_now

    def see(self, func: Any, args: Any, kwargs: Any, made: Any) -> None:
        """Any op of torch, and what it has made."""
        name = str(func.overloadpacket).removeprefix("aten.")
        ends = {t.device.type for t in tree_leaves((args, made)) if isinstance(t, Tensor)}
        if kwargs.get("pin_memory"):
            self._pin(made)
        if "cuda" not in ends or func.is_view or name.startswith(NO_KERNEL):
            self._see_made(made)
            return
        copies = "cpu" in ends and name in COPIES
        self._launch(func, args, kwargs, made, copies)
        if copies and not is_late(args, kwargs):
            self.current.synchronize()

    def _launch(self, func: Any, args: Any, kwargs: Any, made: Any, copies: bool) -> None:
        """A kernel, or a copy between the host and the device, on the current stream."""
        stream = self.current.id
        writes = {self._see(t) for t in _list_written(func, args, kwargs)}
        reads = {self._see(t) for t in tree_leaves((args, kwargs)) if _counts(t, copies)} - writes
        writes |= {self._see(t) for t in tree_leaves(made) if _counts(t, copies)} - reads
        self.works += 1
        self.copies[stream] += copies
        self.clock[stream] = self.clock.get(stream, 0) + 1
        self._tell(stream, reads, writes, str(func))

    def _pin(self, made: Tensor) -> None:
        size = made.untyped_storage().nbytes()
        self.pinned_now += size
        self.pinned = max(self.pinned, self.pinned_now)
        weakref.finalize(made.untyped_storage(), self._unpin, size).atexit = False

    def _unpin(self, size: int) -> None:
        self.pinned_now -= size

    def _see_made(self, made: Any) -> None:
        """Memory that an op has asked for without a kernel."""
        for t in tree_leaves(made):
            if isinstance(t, Tensor) and t.device.type == "cuda":
                self._see(t)

    def _see(self, t: Tensor) -> int:
        """The key of its memory. The stream that asks for it may get what that stream was using before."""
        storage = t.untyped_storage()
        key = storage._cdata
        if key not in self.owners:
            self.owners[key] = stream = self.current.id
            self.handler._handle_memory_allocation(key)
            if t.device.type == "cuda":
                self._tell(stream, set(), {key}, "memory is given out")
            weakref.finalize(storage, self._free, key, t.device.type).atexit = False
        return key

    def _free(self, key: int, device: str) -> None:
        """Torch gives it out again in the order of its stream; of the host only when all its copies have ended."""
        if device == "cuda":
            self._tell(self.owners[key], set(), {key}, "memory is given back")
        self.handler._handle_memory_deallocation(key)
        del self.owners[key]

    def _tell(self, stream: int, reads: set[int], writes: set[int], what: str) -> None:
        names = {key: [str(key)] for key in reads | writes}
        found = self.handler._handle_kernel_launch(stream, reads, writes, set(), what, names)
        self.races += [str(error) for error in found]

    def answer(self) -> dict[str, Any]:
        """What torch.cuda is asked about streams."""
        streams = self

        class NewStream(Stream):  # a class, since annotations name it
            def __init__(self, device: Any = None):
                super().__init__(streams, streams._name())

        return {
            "Stream": NewStream,
            "current_stream": lambda device=None: self.current,
            "stream": self._enter,
            "_sanitizer.traceback": SimpleNamespace(StackSummary=traceback.StackSummary, walk_stack=_walk_some),
        }

    @property
    def current(self) -> "Stream":
        return self.stack[-1]

    def _name(self) -> int:
        self.made += 1
        return self.made

    @contextlib.contextmanager
    def _enter(self, stream: "Stream") -> Iterator[None]:
        self.stack.append(stream)
        try:
            yield
        finally:
            self.stack.pop()


class Stream:
    def __init__(self, streams: Streams, id: int):
        self.streams, self.id = streams, id

    def record_event(self) -> "Event":
        return Event(self)

    def wait_event(self, event: "Event") -> None:
        self.streams.handler._handle_event_wait(event.id, self.id)
        clock = self.streams.clock
        clock[self.id] = max(clock.get(self.id, 0), event.at)

    def wait_stream(self, other: "Stream") -> None:
        self.wait_event(other.record_event())

    def synchronize(self) -> None:
        self.streams.handler.syncs.all_streams_wait_for_stream(self.id)


class Event:
    made = 0

    def __init__(self, stream: Stream):
        Event.made += 1
        self.id, self.at = Event.made, stream.streams.clock.get(stream.id, 0)
        stream.streams.handler._handle_event_record(self.id, stream.id)


def _walk_some(frame: Any) -> Iterator[Any]:
    """The sanitizer keeps the stack of every access, which takes most of the time."""
    return islice(traceback.walk_stack(frame), 24)


def _list_written(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info and argument.alias_info.is_write:
            yield from (t for t in tree_leaves(args[i] if i < len(args) else kwargs.get(argument.name)) if _is(t))


def _counts(t: Any, copies: bool) -> bool:
    """Memory on the device; in a copy that of the host too."""
    return _is(t) and (copies or t.device.type == "cuda")


def is_late(args: Any, kwargs: Any) -> bool:
    """Does a copy return before it is done?"""
    return bool(kwargs.get("non_blocking") or (len(args) > 2 and args[2]))


def _is(t: Any) -> bool:
    return isinstance(t, Tensor)
