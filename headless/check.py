"""Validates a graph, in the order and the words of the host.

Valid output nodes can run even if others are not valid; `node_errors` says what is wrong with those. Literals are cast
to the types that their inputs declare. Where the host answers with a bare Python exception (a link to a missing node),
the type is the host's and the details are a sentence.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from .calls import invoke
from .graph import Graph, Node, find_nearest, link, literal, wrap
from .inputs import Input
from .interface import Interface, types_match
from .limits import MOST_CIRCLES, MOST_STEPS
from .problems import Problem, exception_problem, input_problem, missing_class, problem, sentence, text_problem

_CASTS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
)


@dataclass(frozen=True)
class Report:
    graph: Graph  # with every literal as the type its input declares
    outputs: tuple[str, ...] = ()  # ids of the output nodes that would run
    order: tuple[str, ...] = ()  # ids of all nodes they need, each after those it reads
    error: Problem | None = None  # set if nothing would run
    node_errors: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    missing: tuple[Problem, ...] = ()  # of all nodes whose class is not known; the host tells of the first

    @property
    def ok(self) -> bool:
        """Can every output node run?"""
        return not self.error and not self.node_errors

    @property
    def body(self) -> dict[str, Any]:
        """The answer of the host, as JSON."""
        return {"error": self.error, "node_errors": dict(self.node_errors)}

    def sentences(self) -> list[str]:
        """All problems, one sentence each."""
        found = [(node_id, one) for node_id, entry in self.node_errors.items() for one in entry["errors"]]
        found += [(one["extra_info"]["node_id"], one) for one in self.missing]
        if self.error and not found:
            return ["this graph has no output node, so nothing would run: it needs one as SaveImage or PreviewImage"]
        # All nodes of a circle have one problem, which is said once.
        told = {str(one["extra_info"].get("cycle_nodes", i)): (node, one) for i, (node, one) in enumerate(found[::-1])}
        found = list(told.values())[::-1]
        return list(dict.fromkeys(sentence(one, self.graph.nodes[node_id], self.graph) for node_id, one in found))

    def sentence(self) -> str:
        """The first problem, or that there is none."""
        first, *others = self.sentences() or [self._all_well()]
        more = f" (and {len(others)} more problem{'s' if len(others) > 1 else ''})" if others else ""
        return first + more

    def _all_well(self) -> str:
        ends = ", ".join(str(self.graph.nodes[node_id]) for node_id in self.outputs)
        return f"nothing is wrong with this graph: it would run {len(self.order)} of its nodes for {ends}"


@dataclass
class _NodeCheck:
    inputs: dict[str, Any] = field(default_factory=dict)  # literals, coerced
    problems: list[Problem] = field(default_factory=list)


def check(graph: Graph, nodes: Mapping[str, type]) -> Report:
    """nodes: class_type -> node class. Raises GraphError only for a class whose INPUT_TYPES fails."""
    absent = [node for node in graph.nodes.values() if node.class_type not in nodes]
    if absent:
        nearest = {kind: find_nearest(kind, nodes) for kind in {node.class_type for node in absent}}
        missing = tuple(missing_class(node, nearest[node.class_type]) for node in absent)
        return Report(graph, error=missing[0], missing=missing)
    checking = _Checker(graph, nodes)
    ends = [node.id for node in graph.nodes.values() if checking.interface(node.id).is_output]
    if not ends:
        return Report(graph, error=problem("prompt_no_outputs", "Prompt has no outputs"))
    return checking.report(ends)


class _Checker:
    def __init__(self, graph: Graph, nodes: Mapping[str, type]):
        self.graph = graph
        self.interfaces = {kind: Interface.of(nodes[kind]) for kind in {n.class_type for n in graph.nodes.values()}}
        self.checked: dict[str, _NodeCheck] = {}
        self.known_sources: dict[str, list[str]] = {}

    def interface(self, node_id: str) -> Interface:
        return self.interfaces[self.graph.nodes[node_id].class_type]

    def sources(self, node_id: str) -> list[str]:
        if node_id not in self.known_sources:
            links = self.interface(node_id).links(self.graph.nodes[node_id])
            self.known_sources[node_id] = [source for source, _ in links.values() if source in self.graph.nodes]
        return self.known_sources[node_id]

    def check_node(self, node: Node) -> _NodeCheck:
        """Check one node: its literals, and the types of its links."""
        checked = _NodeCheck()
        interface = self.interface(node.id)
        try:
            for one in interface.inputs_of(node):
                checked.problems += self._check_input(one, node, checked)
            if not checked.problems:
                checked.problems += self._ask_node(node, checked)
        except Exception as error:
            checked.problems.append(exception_problem(error, inner=not interface.is_output))
        return checked

    def _note_circle(self, circle: list[str]) -> None:
        # Another output node may find the same circle: report it once.
        found = _circle_problem([self.graph.nodes[node_id] for node_id in circle])
        for node_id in dict.fromkeys(circle):
            problems = self.checked[node_id].problems
            if all(one["type"] != "dependency_cycle" for one in problems):
                problems.append(found)

    def report(self, ends: list[str]) -> Report:
        """Check all nodes that these output nodes need. Every node is looked at once, however many need it."""
        order, circles = walk_upstream(self.sources, ends)
        for node_id in order:
            self.checked[node_id] = self.check_node(self.graph.nodes[node_id])
        for circle in circles:
            self._note_circle(circle)
        spoilt = self._find_spoilt(order)
        good = [end for end in ends if end not in spoilt]
        return Report(
            self._coerce_literals(),
            tuple(good),
            tuple(walk_upstream(self.sources, good)[0]),
            None if good else self._all_failed_problem(ends),
            self._collect_errors([end for end in ends if end in spoilt]),
        )

    def _find_spoilt(self, order: list[str]) -> set[str]:
        """The ids of all nodes that have problems, or need nodes that have."""
        readers: dict[str, list[str]] = {}
        for node_id in order:
            for source in self.sources(node_id):
                readers.setdefault(source, []).append(node_id)
        spoilt = {node_id for node_id in order if self.checked[node_id].problems}
        waiting = list(spoilt)
        while waiting:
            new = set(readers.get(waiting.pop(), ())) - spoilt
            spoilt |= new
            waiting += new
        return spoilt

    def _coerce_literals(self) -> Graph:
        found = {node_id: checked.inputs for node_id, checked in self.checked.items()}
        nodes = self.graph.nodes.items()
        return replace(self.graph, nodes={i: replace(n, inputs={**n.inputs, **found.get(i, {})}) for i, n in nodes})

    def _collect_errors(self, ends: list[str]) -> dict[str, dict[str, Any]]:
        """The host's record of every node with problems that one of these output nodes needs, and which of them do."""
        found: dict[str, dict[str, Any]] = {}
        steps = 0
        for end in ends:
            order, _ = walk_upstream(self.sources, [end]) if steps < MOST_STEPS else ([end], [])
            steps += len(order)
            for node_id in (one for one in order if self.checked[one].problems):
                kind = self.graph.nodes[node_id].class_type
                entry = {"errors": self.checked[node_id].problems, "dependent_outputs": [], "class_type": kind}
                found.setdefault(node_id, entry)["dependent_outputs"].append(end)
        return found

    def _all_failed_problem(self, ends: Iterable[str]) -> Problem:
        lines = [f"{one['message']}: {one['details']}" for end in ends for one in self.checked[end].problems]
        return problem("prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(lines))

    def _check_input(self, one: Input, node: Node, checked: _NodeCheck) -> list[Problem]:
        if one.name not in node.inputs:
            return [_missing_input(one, node, self.interface(node.id))] if one.required else []
        value = node.inputs[one.name]
        if isinstance(value, list):
            return self._check_link(one, value, node)
        return _check_literal(one, value, self.interface(node.id), checked)

    def _check_link(self, one: Input, value: list[Any], node: Node) -> list[Problem]:
        inner = not self.interface(node.id).is_output
        source, slot = link(value) or _read_odd_link(value)
        if source is None:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return [input_problem("bad_linked_input", message, one, received_value=value)]
        if source not in self.graph.nodes:
            said = f"it reads node {source}, which is not in this graph"
            return [text_problem(repr(source), "KeyError", inner, input_name=one.name, linked_node=value, said=said)]
        returns = self.interface(source).returns
        if not 0 <= slot < len(returns) or not isinstance(value[1], int):
            said = f"it reads output {value[1]} of {self.graph.nodes[source]}, which has {len(returns)}"
            kind, told = _name_slot_error(value[1])
            return [text_problem(told, kind, inner, input_name=one.name, linked_node=value, said=said)]
        return self._check_link_type(one, value, returns[slot], node)

    def _check_link_type(self, one: Input, value: list[Any], received: Any, node: Node) -> list[Problem]:
        interface = self.interface(node.id)
        # Core's own nodes stand here for those of the host, of which most declare a COMBO.
        wanted = "COMBO" if one.choices is not None and hasattr(interface.cls, "TAKES") else one.type
        if types_match(received, wanted) or interface.validates("input_types"):
            return []
        details = f"{one.name}, received_type({received}) mismatch input_type({one.type})"
        message = "Return type mismatch between linked nodes"
        info = {"received_type": received, "linked_node": value}
        return [input_problem("return_type_mismatch", message, one, details, **info)]

    def _ask_node(self, node: Node, checked: _NodeCheck) -> list[Problem]:
        """Call VALIDATE_INPUTS, with None for linked inputs. Its answer is about all the arguments it takes."""
        interface = self.interface(node.id)
        if interface.validator is None:
            return []
        values: dict[str, Any] = {one.name: literal(checked.inputs.get(one.name)) for one in interface.list_given(node)}
        values |= interface.hidden_values(node, self.graph)
        values["input_types"] = self._list_received_types(node)
        arguments = {name: [value] for name, value in values.items() if interface.validates(name)}
        answers = invoke(interface.bind(interface.validator, node), arguments, interface.takes_lists)
        return [_refusal(name, answer) for answer in answers if answer is not True for name in arguments]

    def _list_received_types(self, node: Node) -> dict[str, Any]:
        links = self.interface(node.id).links(node)
        return {name: self.interface(source).returns[slot] for name, (source, slot) in links.items()}


def walk_upstream(sources: Callable[[str], Iterable[str]], ends: Iterable[str]) -> tuple[list[str], list[list[str]]]:
    """(all nodes that the ends need, each after those it needs itself; the circles among them, the first ones whole).

    A circle [a, b, a] means that a reads b and b reads a. No recursion: a graph may be deeper than Python's stack.
    """
    order: list[str] = []
    circles: list[list[str]] = []
    seen: set[str] = set()
    for end in ends:
        if end not in seen:
            seen.add(end)
            _walk_from(end, sources, seen, order, circles)
    return order, circles


def _walk_from(
    end: str,
    sources: Callable[[str], Iterable[str]],
    seen: set[str],
    order: list[str],
    circles: list[list[str]],
) -> None:
    path, waiting, above = [end], [iter(sources(end))], {end}
    while path:
        source = next(waiting[-1], None)
        if source is None:
            waiting.pop()
            above.discard(path[-1])
            order.append(path.pop())
        elif source in above:
            down = path[path.index(source) :] if len(circles) < MOST_CIRCLES else []
            circles.append([*down, source])
        elif source not in seen:
            seen.add(source)
            above.add(source)
            path.append(source)
            waiting.append(iter(sources(source)))


def _read_odd_link(value: list[Any]) -> tuple[str | int | float | None, int]:
    """A pair such as [1, 0] or ["1", "0"] is no link when a graph runs, but the host looks for that node."""
    odd = len(value) == 2 and isinstance(value[0], int | float | str) and isinstance(value[1], int | float | str)
    return (value[0] if odd and not isinstance(value[1], bool) else None), -1


def _name_slot_error(slot: Any) -> tuple[str, str]:
    """What Python says in the host of an output that is not there."""
    if isinstance(slot, int):
        return "IndexError", "tuple index out of range"
    return "TypeError", f"tuple indices must be integers or slices, not {type(slot).__name__}"


def _missing_input(one: Input, node: Node, interface: Interface) -> Problem:
    """Also the name in the file that may have been meant: one that the class does not have."""
    near = find_nearest(one.name, node.inputs.keys() - {other.name for other in interface.inputs_of(node)})[:1]
    info = {"nearest": near[0]} if near else {}
    details = one.name.rpartition(".")[2] if interface.is_dynamic else ""  # of an input that another brings, its end
    return input_problem("required_input_missing", "Required input is missing", one, details, **info)


def _check_literal(one: Input, value: Any, interface: Interface, checked: _NodeCheck) -> list[Problem]:
    value = literal(value)
    cast = _CASTS.get(one.type) if isinstance(one.type, str) else None
    try:
        value = cast(value) if cast else value
    except (TypeError, ValueError, OverflowError) as error:
        message = f"Failed to convert an input value to a {one.type} value"
        details = f"{one.name}, {value}, {error}"
        info = {"received_value": value, "exception_message": str(error)}
        return [input_problem("invalid_input_type", message, one, details, **info)]
    checked.inputs[one.name] = wrap(value)
    # A class is told None of what is linked, so it cannot tell null in the file from a link.
    return [] if interface.validates(one.name) and value is not None else _check_range(one, value)


def _check_range(one: Input, value: Any) -> list[Problem]:
    for bound, word, beyond in (("min", "smaller", operator.lt), ("max", "bigger", operator.gt)):
        limit = one.options.get(bound)
        if limit is not None and isinstance(value, int | float) and beyond(value, limit):
            message = f"Value {value} {word} than {bound} of {limit}"
            return [input_problem(f"value_{word}_than_{bound}", message, one, received_value=value)]
    return _check_choice(one, value)


def _check_choice(one: Input, value: Any) -> list[Problem]:
    choices = one.choices
    if choices is None:
        return []
    several = isinstance(value, list) and bool(one.options.get("multiselect"))
    wrong = [picked for picked in (value if several else [value]) if picked not in choices]
    if not wrong:
        return []
    shown = f"{choices}" if len(choices) <= 20 else f"(list of length {len(choices)})"
    told = repr(wrong[0]) if len(wrong) == 1 else repr(", ".join(map(str, wrong)))
    details = f"{one.name}: {told} not in {shown}"
    near = find_nearest(str(wrong[0]), [str(one) for one in choices])[:1]
    info = {"received_value": value, **({"nearest": near[0]} if near else {})}
    return [input_problem("value_not_in_list", "Value not in list", one, details, **info)]


def _refusal(name: str, answer: Any) -> Problem:
    said = "" if answer is False else str(answer)
    details = f"{name} - {said}" if said else name
    return problem("custom_validation_failed", "Custom validation failed for node", details, input_name=name, said=said)


def _circle_problem(circle: list[Node]) -> Problem:
    told = " -> ".join(f"{node.id} ({node.class_type})" for node in circle)
    said = "nodes read one another in a circle: " + " -> ".join(node.id for node in circle)
    return problem("dependency_cycle", "Dependency cycle detected", told, cycle_nodes=[n.id for n in circle], said=said)
