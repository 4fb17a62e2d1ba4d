"""The structure of an editor's file: its nodes and links, and those of each use of a subgraph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from .graph import GraphError
from .limits import MOST_SOCKETS

SHELL_INPUT, SHELL_OUTPUT = -10, -20  # stand in a subgraph's links for what is outside of it
PRIMITIVE = "PrimitiveNode"
OWN = "-1"  # stands in a list of promoted widgets for the shell itself

Json = Mapping[str, Any]


class Link(NamedTuple):
    origin: Any  # id of a node, or SHELL_INPUT
    slot: int
    target: Any
    into: int
    type: Any


@dataclass(frozen=True)
class Scope:
    """The workflow, or one use of a subgraph in it."""

    prefix: str  # of ids: "" or "5:"
    nodes: Mapping[Any, Json]
    links: Mapping[Any, Link]
    inputs: Sequence[Json] = ()  # of the subgraph
    outputs: Sequence[Json] = ()
    shell: Json | None = None  # the node that stands for it
    outer: "Scope | None" = None
    kinds: tuple[Any, ...] = ()  # the subgraphs that this one lies in, and itself

    @cached_property
    def exits(self) -> Mapping[int, Any]:
        """Slot of the shell -> number of the link inside that feeds it: the first of those that the slot lists."""
        listed = ((slot, next(iter(one.get("linkIds") or ()), None)) for slot, one in enumerate(self.outputs))
        found: dict[int, Any] = {slot: number for slot, number in listed if number in self.links}
        for number, link in self.links.items():
            if link.target == SHELL_OUTPUT:
                found.setdefault(link.into, number)
        return found

    @cached_property
    def sockets(self) -> Mapping[str, Json]:
        """The inputs of the shell by their names, the first of several."""
        return {one["name"]: one for one in reversed((self.shell or {}).get("inputs") or ())}

    @cached_property
    def setters(self) -> Mapping[Any, Json]:
        """The nodes that name a value for others, by that name."""
        return {name: node for node in self.nodes.values() if node["type"] == "SetNode" for name in _name_of(node)}

    @cached_property
    def values(self) -> "Promoted":
        return read_promoted(self)

    @cached_property
    def names(self) -> Mapping[str, int]:
        """The inputs of the subgraph by their names, the first of several: name -> slot."""
        return {one["name"]: slot for slot, one in reversed(list(enumerate(self.inputs)))}

    @cached_property
    def entries(self) -> Mapping[int, list[Link]]:
        """Slot of the subgraph's inputs -> the links inside that begin there, those that the slot lists first."""
        listed = [number for one in self.inputs for number in one.get("linkIds") or () if number in self.links]
        found: dict[int, list[Link]] = {}
        for number in dict.fromkeys((*listed, *self.links)):
            link = self.links[number]
            if link.origin == SHELL_INPUT:
                found.setdefault(link.slot, []).append(link)
        return found

    def find_primitive(self, number: Any) -> Json | None:
        """The node of this number, if it is a primitive of the editor."""
        node = self.nodes.get(number)
        return node if node and node["type"] == PRIMITIVE else None

    def find_widget(self, slot: int) -> tuple[Json, str] | None:
        """(node, name of its widget) that an input of the subgraph stands for: the first one that it feeds."""
        for link in self.entries.get(slot, ()):
            node = self.nodes.get(link.target)
            inputs = (node or {}).get("inputs") or ()
            if node and link.into < len(inputs) and inputs[link.into].get("widget"):
                return node, inputs[link.into]["name"]
        return None


@dataclass(frozen=True)
class Promoted:
    """The values of the widgets on the outside of a subgraph."""

    slots: Mapping[int, Any]  # of its inputs
    widgets: Mapping[str, Mapping[str, Any]]  # id of a node inside -> name of its widget -> value
    listed: frozenset[tuple[str, str]] = frozenset()  # (id of a node inside, name of its widget), with values or not

    def of(self, node: Json) -> Mapping[str, Any]:
        """Those of one node inside."""
        return self.widgets.get(str(node["id"]), {})


def read_promoted(scope: Scope) -> Promoted:
    """The values on the shell, with those that the subgraph around it has promoted from the shell."""
    shell = scope.shell or {}
    slots, widgets = _pair(scope, shell)
    around = scope.outer.values.of(shell) if scope.outer and scope.outer.shell else {}
    slots |= {scope.names[name]: value for name, value in around.items() if name in scope.names}
    for node, name in _name_proxies(shell):
        if node != OWN and name in around and name not in scope.names:
            widgets.setdefault(node, {})[name] = around[name]
    return Promoted(slots, widgets, frozenset(_name_proxies(shell)))


def _pair(scope: Scope, shell: Json) -> tuple[dict[int, Any], dict[str, dict[str, Any]]]:
    """Which value of the row is whose.

    The editor gives the row to the inputs of the subgraph that are widgets inside, in their order, and then, where a
    list of promoted widgets says otherwise, to those one by one.
    """
    values, promoted = shell.get("widgets_values") or [], _list_promoted(scope)
    if isinstance(values, dict):
        return {scope.names[name]: value for name, value in values.items() if name in scope.names}, {}
    named = shell.get("widgets_values_named") or {} if len(values) < len(promoted) else {}
    slots = {scope.names[name]: value for name, value in named.items() if name in scope.names}
    slots |= dict(zip(promoted.values(), values, strict=False))
    widgets: dict[str, dict[str, Any]] = {}
    for (node, name), value in zip(_name_proxies(shell), values, strict=False):
        slot = scope.names.get(name) if node == OWN else promoted.get((node, name))
        if slot is not None and value is not None:
            slots[slot] = value
        elif node != OWN and value is not None:
            widgets.setdefault(node, {})[name] = value
    return slots, widgets


def _list_promoted(scope: Scope) -> dict[tuple[str, str], int]:
    """(id of a node inside, name of its widget) -> slot of the subgraph's inputs that stands for it, in their order."""
    found = {slot: scope.find_widget(slot) for slot in range(len(scope.inputs))}
    return {(str(one[0]["id"]), one[1]): slot for slot, one in found.items() if one}


def _name_proxies(shell: Json) -> list[tuple[str, str]]:
    return [(str(one[0]), str(one[1])) for one in list_proxies(shell)]


def list_proxies(shell: Json) -> list[list[Any]]:
    """[id of a node inside, name of its widget, ...] of each widget that a subgraph's node shows.

    Raises GraphError for anything else.
    """
    proxies = (shell.get("properties") or {}).get("proxyWidgets") or []
    if not isinstance(proxies, list) or not all(isinstance(one, list) and len(one) > 1 for one in proxies):
        raise GraphError(f"the proxyWidgets of node {shell.get('id')} are no pairs of a node's id and a widget's name")
    return proxies


def list_objects(entries: Any, what: str) -> list[Json]:
    """The JSON objects of a list, which may be missing. Raises GraphError for anything else."""
    if not isinstance(entries or [], list):
        raise GraphError(f"its {what} are no list")
    for one in entries or ():
        if not isinstance(one, dict) or "id" not in one:
            raise GraphError(f"one of its {what} is no object with an id")
    return entries or []


def demand_node(node: Json) -> Json:
    """Raise GraphError for a node without a type, and for one with more inputs or outputs than any needs."""
    if not isinstance(node.get("type"), str):
        raise GraphError(f"node {node['id']} has no type")
    for sockets in (node.get("inputs"), node.get("outputs")):
        if isinstance(sockets, list) and len(sockets) > MOST_SOCKETS:
            raise GraphError(f"node {node['id']} has {len(sockets)} inputs or outputs; {MOST_SOCKETS} are the most")
    return node


def read_link(entry: Any) -> tuple[Any, Link]:
    if isinstance(entry, dict):
        names = ("origin_id", "origin_slot", "target_id", "target_slot", "type")
        return entry["id"], Link(*(entry[name] for name in names))
    return entry[0], Link(*entry[1:6])


def _name_of(node: Json) -> list[Any]:
    return list((node.get("widgets_values") or ())[:1])
