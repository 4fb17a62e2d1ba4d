"""One run of a graph: the nodes that the output nodes need, in order, each once.

A node runs when another one reads it, so a lazy input that is not asked for never runs. A value is dropped as soon as
its last reader has read it, so memory holds only values that are still to be read.
"""

import traceback
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..vae_core.errors import VAEError, is_out_of_memory
from .calls import Slots, Ui, invoke, merge, run_node
from .check import Report
from .graph import GraphError, Node, literal
from .growing import Growing, Look, Pending
from .interface import Interface
from .problems import describe_value
from .sharing import Cache, Place

Progress = Callable[[int, int, Node], None]
_CALLER = None  # among the readers of a node: the caller of `run`, who reads every output node


@dataclass(frozen=True)
class Results:
    outputs: dict[str, Ui]  # node id -> what it shows: {"images": [{"filename", "subfolder", "type"}]}
    values: dict[str, tuple[Any, ...]]  # node id -> its outputs, for those asked for by `keep`
    executed: tuple[str, ...]  # ids in the order they ran; of nodes that are the same, the first
    report: Report  # of the validation; its node_errors are of outputs that were left out
    errors: tuple[GraphError, ...] = ()  # of nodes that failed, if the others were to run all the same
    blocked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # node id -> why it did not run, if it is said


@dataclass(frozen=True)
class Observer:
    """The callbacks for progress."""

    progress: Progress | None
    on_start: Callable[[Node], None] | None

    def tell_start(self, node: Node) -> None:
        if self.on_start:
            self.on_start(node)

    def tell_done(self, done: int, total: int, node: Node) -> None:
        if self.progress:
            self.progress(done, total, node)


class Execution:
    def __init__(
        self,
        report: Report,
        classes: Mapping[str, type],
        keep: Container[str],
        watch: Observer,
        cache: Cache | None,
    ):
        self.report, self.watch, self.cache = report, watch, cache
        self.growing = Growing(report.graph, report.order, classes)
        self.twins = self.growing.twins
        self.before = cache.start(report.graph, self.growing.signed.values()) if cache else {}
        self.wanted = {node_id: self.twins[node_id] for node_id in report.order if node_id in keep}
        self.held: dict[str, set[str]] = {}  # node -> what it may put into what it expands into
        self.pending: dict[str, Pending] = {}  # nodes that have expanded
        self.readers: dict[str, set[str | None]] = {first: set() for first in self.twins.values()}
        self._add_readers()
        self.objects: dict[Place, Any] = cache.objects if cache else {}
        self.slots: dict[str, Slots] = {}  # of nodes that ran and are still read
        known = {node_id: self.before.get(self.growing.signed[node_id]) for node_id in self.wanted.values()}
        self.kept: dict[str, Slots] = {node_id: found[0] for node_id, found in known.items() if found}
        self.shown: dict[str, Ui] = {}
        self.executed: list[str] = []
        self.finished: set[str] = set()  # ran, or will not be needed any more
        self.failed: set[str] = set()  # with those that wait for them
        self.errors: list[GraphError] = []
        self.blocked: dict[str, tuple[str, ...]] = {}

    def demand(self, output: str) -> GraphError | None:
        """Run an output node and the nodes it needs. Returns what a node failed with, when it fails."""
        waiting = [self.twins[output]]
        try:
            while waiting and waiting[-1] not in self.failed:
                self._advance(waiting)
        except GraphError as error:
            self.errors.append(error)
            self._give_up(waiting)
            return error
        self._give_up(waiting)
        return None

    def _advance(self, waiting: list[str]) -> None:
        """Run the last of the nodes that wait, or put before it what it needs first."""
        node_id = waiting[-1]
        if node_id in self.finished:
            waiting.pop()
            return
        known = self.before.get(self.growing.signed[node_id])
        missing = [] if known else self._attribute_errors(self._find_missing, node_id)
        waiting += reversed(missing)
        if missing:
            return
        if known:
            self._keep(node_id, *known)
        elif node_id in self.pending:
            self._attribute_errors(self._collect, node_id)
        else:
            self.watch.tell_start(self.growing.nodes[node_id])
            self._attribute_errors(self._execute, node_id)
            if node_id in self.pending:
                return
        self._finish(waiting.pop())

    def _give_up(self, waiting: list[str]) -> None:
        """These wait for a node that failed: none of them can run, and what they would have read is dropped."""
        for node_id in reversed(waiting):
            if node_id not in self.failed:
                self.failed.add(node_id)
                self._finish(node_id)

    def results(self) -> Results:
        ids = [*self.report.order, *self.growing.parents]
        shown = {i: self.shown[self.twins[i]] for i in ids if i in self.twins and self.shown.get(self.twins[i])}
        values = {i: self._unwrap_outputs(first) for i, first in self.wanted.items() if first in self.kept}
        return Results(shown, values, tuple(self.executed), self.report, tuple(self.errors), self.blocked)

    def _add_readers(self) -> None:
        for node_id in list(self.readers):
            self._enter(node_id)
        for output in self.report.outputs:
            self.readers[self.twins[output]].add(_CALLER)

    def _enter(self, node_id: str) -> None:
        """A node is to run: values that it reads, or may put into what it expands into, are kept until then."""
        self.readers.setdefault(node_id, set())
        if self._interface(node_id).may_look_around:
            self.held[node_id] = self.growing.list_upstream(node_id)
        for source in self._sources(node_id):
            self.readers.setdefault(source, set()).add(node_id)

    def _sources(self, node_id: str) -> set[str]:
        """What a node has still to read, or may come to read."""
        if node_id in self.pending:
            return {*self.pending[node_id].needs}
        return self.growing.sources(node_id) | self.held.get(node_id, set())

    def _interface(self, node_id: str) -> Interface:
        return self.growing.interface(node_id)

    def _instance(self, node_id: str) -> Any:
        place = self._place(node_id)
        if place not in self.objects:
            self.objects[place] = place[-1]()
        return self.objects[place]

    def _place(self, node_id: str) -> Place:
        root = self.growing.nodes[self.growing.root(node_id)]
        return root.id, root.class_type, node_id, self._interface(node_id).cls

    def _find_missing(self, node_id: str) -> list[str]:
        """Ids of nodes that must run first. check_lazy_status is asked when all inputs that are not lazy are there."""
        if node_id in self.pending:
            return [need for need in self.pending[node_id].needs if need not in self.finished]
        links = self.growing.links(node_id)
        absent = {name: source for name, (source, _) in links.items() if source not in self.slots}
        lazy = {one.name for one in self._interface(node_id).inputs_of(self.growing.nodes[node_id]) if one.lazy}
        eager = [source for name, source in absent.items() if name not in lazy]
        if eager or not absent or not hasattr(self._interface(node_id).cls, "check_lazy_status"):
            return eager
        method, takes_lists = self._method(node_id, "check_lazy_status"), self._interface(node_id).takes_lists
        answers = invoke(method, self._gather_inputs(node_id), takes_lists)
        asked = {name for answer in answers for name in answer or ()}
        return [source for name, source in absent.items() if name in asked]

    def _gather_inputs(self, node_id: str) -> dict[str, list[Any]]:
        node, links, interface = self.growing.nodes[node_id], self.growing.links(node_id), self._interface(node_id)
        inputs = {}
        for one in interface.list_given(node):
            linked = None if one.raw else links.get(one.name)
            inputs[one.name] = self._read(*linked) if linked else [literal(node.inputs[one.name])]
        hidden = {} if interface.is_third else self._find_hidden(node_id)
        return inputs | {name: [value] for name, value in hidden.items()}

    def _find_hidden(self, node_id: str) -> dict[str, Any]:
        node = self.growing.nodes[node_id]
        return self._interface(node_id).hidden_values(node, self.report.graph, self.growing)

    def _method(self, node_id: str, name: str) -> Callable[..., Any]:
        interface = self._interface(node_id)
        owner = interface.lock(self._find_hidden(node_id)) if interface.is_third else self._instance(node_id)
        return interface.bind(getattr(owner, name), self.growing.nodes[node_id])

    def _read(self, source: str, slot: int) -> list[Any]:
        if source not in self.slots:
            return [None]  # lazy, and not asked for
        slots = self.slots[source]
        if slot >= len(slots):
            name = self.growing.nodes[source]
            raise VAEError(f"it reads output {slot} of {name}, which returned only {len(slots)}")
        return slots[slot]

    def _execute(self, node_id: str) -> None:
        interface = self._interface(node_id)
        method = self._method(node_id, interface.cls.FUNCTION)
        returned, messages = run_node(method, self._gather_inputs(node_id), interface)
        if messages:
            self.blocked[node_id] = tuple(messages)
        if all(one.expand is None for one in returned):
            self._keep(node_id, *merge(returned, interface))
            self.executed.append(node_id)
            return
        pending, order = self.growing.grow(node_id, returned, Look(self._list_unread, self._is_gone))
        for new in order:
            if self._is_gone(new):
                self.finished.discard(new)
            if new not in self.finished:
                self._enter(new)
        read = self._sources(node_id)
        self.pending[node_id] = pending
        for need in pending.needs:
            self.readers[need].add(node_id)
        self._release(node_id, read - {*pending.needs})

    def _collect(self, node_id: str) -> None:
        """What a node has expanded into has run: its outputs are there."""
        returned = self.pending[node_id].returned
        self._keep(
            node_id, *merge(returned, self._interface(node_id), lambda *to: self._read(self.twins[to[0]], to[1]))
        )
        self.executed.append(node_id)

    def _list_unread(self, node_id: str) -> Iterable[str]:
        if node_id in self.slots or node_id in self.failed:
            return ()
        needs = self.pending[node_id].needs if node_id in self.pending else ()
        return self.growing.sources(node_id) | {*needs}

    def _is_gone(self, node_id: str) -> bool:
        """Did it run, so that nobody reads it, and its outputs were dropped?"""
        return node_id in self.finished and node_id not in self.slots and node_id not in self.failed

    def _keep(self, node_id: str, slots: Slots, shown: Ui) -> None:
        self.slots[node_id], self.shown[node_id] = slots, shown
        if node_id in self.wanted.values():
            self.kept[node_id] = slots
        if self.cache:
            entries = self.cache.inner if node_id in self.growing.parents else self.cache.entries
            entries[self.growing.signed[node_id]] = slots, shown

    def _finish(self, node_id: str) -> None:
        """The node has read its inputs, and its outputs are there, or it is not needed any more."""
        self.readers[node_id].discard(_CALLER)
        if not self.cache:
            self.objects.pop(self._place(node_id), None)
        self._mark(node_id)
        self._release(node_id, self._sources(node_id))
        self.pending.pop(node_id, None)
        if not self.readers[node_id]:
            self.slots.pop(node_id, None)

    def _mark(self, node_id: str) -> None:
        self.finished.add(node_id)
        self.watch.tell_done(len(self.finished), len(self.readers), self.growing.nodes[node_id])

    def _release(self, reader: str, sources: Iterable[str]) -> None:
        """A node reads these no more: drop values that no other node reads, and nodes that are no longer needed."""
        leaving = [(reader, source) for source in sources]
        while leaving:
            one, source = leaving.pop()
            self.readers[source].discard(one)
            if self.readers[source]:
                continue
            self.slots.pop(source, None)
            if source not in self.finished:
                self._mark(source)
                leaving += [(source, further) for further in self._sources(source)]

    def _unwrap_outputs(self, node_id: str) -> tuple[Any, ...]:
        lists = self._interface(node_id).gives_list
        slots = enumerate(self.kept[node_id])
        return tuple(slot if lists(i) or len(slot) != 1 else slot[0] for i, slot in slots)

    def _attribute_errors(self, step: Callable[[str], Any], node_id: str) -> Any:
        """Turn any error of a node into a GraphError that names it. An interruption is no error and passes through."""
        try:
            return step(node_id)
        except Exception as error:
            raise self._make_failure(node_id, error) from error

    def _make_failure(self, node_id: str, error: Exception) -> GraphError:
        root = self.growing.nodes[self.growing.root(node_id)]
        return GraphError(
            f"{self.growing.name(node_id)}: {_say_why(error)}",
            {
                "node_id": root.id,
                "node_type": root.class_type,
                "executed": list(self.executed),
                "exception_message": str(error),
                "exception_type": _full_name(type(error)),
                "traceback": traceback.format_exception(error),
                "current_inputs": self._describe_inputs(self.growing.nodes[node_id]),
            },
        )

    def _describe_inputs(self, node: Node) -> dict[str, list[str]]:
        found: dict[str, list[Any]] = {name: [value] for name, value in node.inputs.items()}
        for name, (source, slot) in self.growing.links(node.id).items():
            found[name] = dict(enumerate(self.slots.get(source, []))).get(slot, [])
        return {name: [describe_value(value) for value in values] for name, values in found.items()}


def _say_why(error: Exception) -> str:
    if isinstance(error, VAEError):
        return str(error)
    if is_out_of_memory(error):
        return "memory ran out: use smaller images, or fewer of them"
    return f"{type(error).__name__}: {str(error) or 'no reason given'}"


def _full_name(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
