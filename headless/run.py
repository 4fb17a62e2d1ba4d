"""Runs a graph without ComfyUI: the nodes that the output nodes need, in order, each once.

A node runs when another one reads it, so a lazy input that is not asked for never runs. A value is dropped as soon as
its last reader has read it, so memory holds only values that are still to be read.
"""

import traceback
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..vae_core.errors import VAEError, is_out_of_memory
from .calls import Slots, Ui, invoke, merge, run_node
from .check import Report, check
from .definitions import Declared
from .graph import Graph, GraphError, Node, literal
from .interface import Interface
from .problems import describe_value
from .sharing import Cache, find_twins, sign

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


def run(
    graph: Graph,
    nodes: Mapping[str, type],
    *,
    keep: Container[str] = (),
    progress: Progress | None = None,
    on_start: Callable[[Node], None] | None = None,
    keep_going: bool = False,
    cache: Cache | None = None,
) -> Results:
    """Validate a graph and run it.

    nodes: class_type -> V1 node class. keep: ids of nodes whose outputs are wanted in `Results.values`; an output
    stays a list where the node declares one or ran several times. progress: called with (nodes done, nodes in all,
    the node just done). on_start: called with each node before it runs. keep_going: a node that fails stops only
    the outputs that need it, and is told in `Results.errors`. cache: of runs before this one, changed in place.
    Raises GraphError if nothing is valid, or for the node that failed, with the exception as its cause.
    """
    report = check(graph, nodes)
    if report.error:
        raise GraphError(report.sentence(), report.body)
    interfaces = {kind: Interface.of(nodes[kind]) for kind in {report.graph.nodes[i].class_type for i in report.order}}
    _demand_code(report, nodes)
    with torch.inference_mode():
        execution = _Execution(report, interfaces, keep, _Observer(progress, on_start), cache)
        for output in report.outputs:
            error = execution.demand(output)
            if error and not keep_going:
                raise error
    return execution.results()


def _demand_code(report: Report, nodes: Mapping[str, type]) -> None:
    """Before anything runs: raise GraphError for a node that needs the ComfyUI which declared it."""
    for node in (report.graph.nodes[node_id] for node_id in report.order):
        if issubclass(nodes[node.class_type], Declared):
            raise GraphError(f"{node}: only its declaration is known here: it can be checked, and not run")


@dataclass(frozen=True)
class _Observer:
    """The callbacks for progress."""

    progress: Progress | None
    on_start: Callable[[Node], None] | None

    def tell_start(self, node: Node) -> None:
        if self.on_start:
            self.on_start(node)

    def tell_done(self, done: int, total: int, node: Node) -> None:
        if self.progress:
            self.progress(done, total, node)


class _Execution:
    def __init__(
        self,
        report: Report,
        interfaces: Mapping[str, Interface],
        keep: Container[str],
        watch: _Observer,
        cache: Cache | None,
    ):
        self.report, self.graph, self.watch = report, report.graph, watch
        self.interfaces = interfaces
        self.signed = sign(report.graph, report.order, interfaces)
        self.twins = find_twins(self.signed)
        self.before = cache.start(self.signed.values()) if cache else {}
        self.cache = cache
        self.wanted = {node_id: self.twins[node_id] for node_id in report.order if node_id in keep}
        self.readers = self._find_readers()
        self.instances: dict[str, Any] = {}
        self.slots: dict[str, Slots] = {}  # of nodes that ran and are still read
        known = {node_id: self.before.get(self.signed[node_id]) for node_id in self.wanted.values()}
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
        known = self.before.get(self.signed[node_id])
        missing = [] if known else self._attribute_errors(self._find_missing, node_id)
        waiting += reversed(missing)
        if missing:
            return
        if known:
            self._keep(node_id, *known)
        else:
            self.watch.tell_start(self.graph.nodes[node_id])
            self._attribute_errors(self._execute, node_id)
        self._finish(waiting.pop())

    def _give_up(self, waiting: list[str]) -> None:
        """These wait for a node that failed: none of them can run, and what they would have read is dropped."""
        for node_id in reversed(waiting):
            if node_id not in self.failed:
                self.failed.add(node_id)
                self._finish(node_id)

    def results(self) -> Results:
        shown = {i: self.shown[self.twins[i]] for i in self.report.order if self.shown.get(self.twins[i])}
        values = {i: self._unwrap_outputs(first) for i, first in self.wanted.items() if first in self.kept}
        return Results(shown, values, tuple(self.executed), self.report, tuple(self.errors), self.blocked)

    def _find_readers(self) -> dict[str, set[str | None]]:
        readers: dict[str, set[str | None]] = {first: set() for first in self.twins.values()}
        for node_id in readers:
            for source in self._sources(node_id):
                readers[source].add(node_id)
        for output in self.report.outputs:
            readers[self.twins[output]].add(_CALLER)
        return readers

    def _links(self, node_id: str) -> dict[str, tuple[str, int]]:
        links = self._interface(node_id).links(self.graph.nodes[node_id])
        return {name: (self.twins[source], slot) for name, (source, slot) in links.items()}

    def _sources(self, node_id: str) -> set[str]:
        return {source for source, _ in self._links(node_id).values()}

    def _interface(self, node_id: str) -> Interface:
        return self.interfaces[self.graph.nodes[node_id].class_type]

    def _instance(self, node_id: str) -> Any:
        if node_id not in self.instances:
            self.instances[node_id] = self._interface(node_id).cls()
        return self.instances[node_id]

    def _find_missing(self, node_id: str) -> list[str]:
        """Ids of nodes that must run first. check_lazy_status is asked when all inputs that are not lazy are there."""
        absent = {name: source for name, (source, _) in self._links(node_id).items() if source not in self.slots}
        lazy = {one.name for one in self._interface(node_id).inputs_of(self.graph.nodes[node_id]) if one.lazy}
        eager = [source for name, source in absent.items() if name not in lazy]
        if eager or not absent or not hasattr(self._interface(node_id).cls, "check_lazy_status"):
            return eager
        method, takes_lists = self._instance(node_id).check_lazy_status, self._interface(node_id).takes_lists
        answers = invoke(method, self._gather_inputs(node_id), takes_lists)
        asked = {name for answer in answers for name in answer or ()}
        return [source for name, source in absent.items() if name in asked]

    def _gather_inputs(self, node_id: str) -> dict[str, list[Any]]:
        node, links = self.graph.nodes[node_id], self._links(node_id)
        inputs = {}
        for one in self._interface(node_id).list_given(node):
            linked = links.get(one.name)
            inputs[one.name] = self._read(*linked) if linked else [literal(node.inputs[one.name])]
        hidden = self._interface(node_id).hidden_values(node, self.graph)
        return inputs | {name: [value] for name, value in hidden.items()}

    def _read(self, source: str, slot: int) -> list[Any]:
        if source not in self.slots:
            return [None]  # lazy, and not asked for
        slots = self.slots[source]
        if slot >= len(slots):
            raise VAEError(f"it reads output {slot} of {self.graph.nodes[source]}, which returned only {len(slots)}")
        return slots[slot]

    def _execute(self, node_id: str) -> None:
        interface, node = self._interface(node_id), self._instance(node_id)
        method = getattr(node, interface.cls.FUNCTION)
        returned, messages = run_node(method, self._gather_inputs(node_id), interface)
        if messages:
            self.blocked[node_id] = tuple(messages)
        self._keep(node_id, *merge(returned, interface))
        self.executed.append(node_id)

    def _keep(self, node_id: str, slots: Slots, shown: Ui) -> None:
        self.slots[node_id], self.shown[node_id] = slots, shown
        if node_id in self.wanted.values():
            self.kept[node_id] = slots
        if self.cache:
            self.cache.entries[self.signed[node_id]] = slots, shown

    def _finish(self, node_id: str) -> None:
        """The node has read its inputs: drop values that no other node reads, and nodes that are no longer needed."""
        self.readers[node_id].discard(_CALLER)
        self.instances.pop(node_id, None)
        leaving = [node_id]
        while leaving:
            current = leaving.pop()
            self.finished.add(current)
            self.watch.tell_done(len(self.finished), len(self.readers), self.graph.nodes[current])
            leaving += self._release_sources(current)
        if not self.readers[node_id]:
            self.slots.pop(node_id, None)

    def _release_sources(self, reader: str) -> Iterable[str]:
        for source in self._sources(reader):
            self.readers[source].discard(reader)
            if not self.readers[source]:
                self.slots.pop(source, None)
                if source not in self.finished:
                    yield source

    def _unwrap_outputs(self, node_id: str) -> tuple[Any, ...]:
        lists = self._interface(node_id).gives_list
        slots = enumerate(self.kept[node_id])
        return tuple(slot if lists(i) or len(slot) != 1 else slot[0] for i, slot in slots)

    def _attribute_errors(self, step: Callable[[str], Any], node_id: str) -> Any:
        """Turn any error of a node into a GraphError that names it. An interruption is no error and passes through."""
        try:
            return step(node_id)
        except Exception as error:
            node = self.graph.nodes[node_id]
            raise _make_failure(node, error, self.executed, self._describe_inputs(node)) from error

    def _describe_inputs(self, node: Node) -> dict[str, list[str]]:
        found: dict[str, list[Any]] = {name: [value] for name, value in node.inputs.items()}
        for name, (source, slot) in self._links(node.id).items():
            found[name] = dict(enumerate(self.slots.get(source, []))).get(slot, [])
        return {name: [describe_value(value) for value in values] for name, values in found.items()}


def _make_failure(node: Node, error: Exception, executed: list[str], given: dict[str, list[str]]) -> GraphError:
    return GraphError(
        f"{node}: {_say_why(error)}",
        {
            "node_id": node.id,
            "node_type": node.class_type,
            "executed": list(executed),
            "exception_message": str(error),
            "exception_type": _full_name(type(error)),
            "traceback": traceback.format_exception(error),
            "current_inputs": given,
        },
    )


def _say_why(error: Exception) -> str:
    if isinstance(error, VAEError):
        return str(error)
    if is_out_of_memory(error):
        return "memory ran out: use smaller images, or fewer of them"
    return f"{type(error).__name__}: {str(error) or 'no reason given'}"


def _full_name(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
