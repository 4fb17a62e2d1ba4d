"""Converts a workflow as the editor saves it (versions 0.4 and 1, with subgraphs) to the graph that the host runs.

It does what the editor does when a workflow is queued: it drops notes, muted nodes and the shells of subgraphs; follows
links through reroutes, bypassed nodes and subgraphs to the node behind them; and gives the values of widgets, which are
kept in order, the names that the node's class declares.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from .graph import Graph, GraphError, Node, wrap
from .interface import Input, Interface, types_match
from .limits import DEEPEST, MOST_NODES, MOST_SOCKETS

NEVER, BYPASS = 2, 4  # modes of a node; in all others it runs
NOTES = ("Note", "MarkdownNote")
REROUTE, PRIMITIVE = "Reroute", "PrimitiveNode"
SHELL_INPUT, SHELL_OUTPUT = -10, -20  # stand in a subgraph's links for what is outside of it
VALUES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")  # types that a widget holds
SEEDS = ("seed", "noise_seed")  # the editor adds a control behind these
UPLOADS = ("image_upload", "video_upload", "audio_upload", "file_upload")

Json = Mapping[str, Any]


class Link(NamedTuple):
    origin: Any  # id of a node, or SHELL_INPUT
    slot: int
    target: Any
    into: int
    type: Any


class Literal(NamedTuple):
    """A value instead of a node: of a primitive, or of a widget on the outside of a subgraph."""

    value: Any


@dataclass(frozen=True)
class Scope:
    """The workflow, or one use of a subgraph in it."""

    prefix: str  # of ids: "" or "5:"
    nodes: Mapping[Any, Json]
    links: Mapping[Any, Link]
    inputs: Sequence[Json]  # of the subgraph
    shell: Json | None = None  # the node that stands for it
    outer: "Scope | None" = None
    kinds: tuple[Any, ...] = ()  # the subgraphs that this one lies in, and itself

    @cached_property
    def exits(self) -> Mapping[int, Any]:
        """Slot of the shell -> number of the link inside that feeds it."""
        found: dict[int, Any] = {}
        for number, link in self.links.items():
            if link.target == SHELL_OUTPUT:
                found.setdefault(link.into, number)
        return found

    @cached_property
    def sockets(self) -> Mapping[str, Json]:
        """The inputs of the shell by their names, the first of several."""
        return {one["name"]: one for one in reversed((self.shell or {}).get("inputs") or ())}

    @cached_property
    def values(self) -> tuple[Mapping[str, Any], bool]:
        """The values of the widgets on the shell; and whether these are all."""
        return _read_shell_widgets(self.shell or {})


class Place(NamedTuple):
    scope: Scope
    number: Any  # of a link in it


End = tuple[str, int] | Literal | None  # what is read at last: a node's output, a value, or nothing


def is_workflow(obj: Any) -> bool:
    return isinstance(obj, dict) and isinstance(obj.get("nodes"), list)


def from_editor(workflow: Json, nodes: Mapping[str, type]) -> Graph:
    """nodes: class_type -> V1 node class, whose declarations name the values of widgets.

    For a class that is missing here, only links and the values that the file names are read; `check` will report it.
    Raises GraphError for a file that cannot be read.
    """
    try:
        reading = _Reader(workflow, nodes)
        found = {node.id: node for node in reading.graph(reading.scope(workflow))}
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise GraphError(f"this workflow cannot be read: {type(error).__name__}: {error}") from error
    return Graph(found, {"workflow": workflow})


class _Reader:
    def __init__(self, workflow: Json, nodes: Mapping[str, type]):
        self.classes = nodes
        definitions = workflow.get("definitions") or {}
        self.subgraphs = {one["id"]: one for one in _list_objects(definitions.get("subgraphs"), "subgraphs")}
        self.scopes: dict[str, Scope] = {}  # by prefix
        self.ends: dict[tuple[str, Any, Any], End] = {}  # of links that were followed: (prefix, number, type)
        self.count = 0  # of nodes in all scopes

    def scope(self, graph: Json, prefix: str = "", shell: Json | None = None, outer: Scope | None = None) -> Scope:
        links = dict(map(_read_link, filter(None, graph.get("links") or ())))  # the editor leaves null for some
        nodes = {node["id"]: _demand_node(node) for node in _list_objects(graph["nodes"], "nodes")}
        self.count += len(nodes)
        if self.count > MOST_NODES:
            raise GraphError(f"it has more than {MOST_NODES} nodes when its subgraphs are put in, and is not read")
        kinds = (*outer.kinds, shell["type"]) if outer and shell else ()
        return Scope(prefix, nodes, links, graph.get("inputs") or (), shell, outer, kinds)

    def enter(self, scope: Scope, shell: Json) -> Scope:
        prefix, kind = f"{scope.prefix}{shell['id']}:", shell["type"]
        if prefix not in self.scopes:
            if kind in scope.kinds:
                raise GraphError(f"the subgraph '{self.subgraphs[kind].get('name')}' contains itself")
            if len(scope.kinds) >= DEEPEST:
                raise GraphError(f"its subgraphs lie more than {DEEPEST} deep within one another, and are not read")
            self.scopes[prefix] = self.scope(self.subgraphs[kind], prefix, shell, scope)
        return self.scopes[prefix]

    def graph(self, scope: Scope) -> Iterator[Node]:
        """The nodes that can run, in the order of the file; a subgraph's at the place of its shell."""
        waiting = [(scope, iter(scope.nodes.values()))]
        while waiting:
            scope, nodes = waiting[-1]
            node = next(nodes, None)
            if node is None:
                waiting.pop()
            elif _is_off(node) or node["type"] in (*NOTES, REROUTE, PRIMITIVE):
                continue
            elif node["type"] in self.subgraphs:
                inner = self.enter(scope, node)
                waiting.append((inner, iter(inner.nodes.values())))
            else:
                yield self.node(scope, node)

    def node(self, scope: Scope, node: Json) -> Node:
        _demand_no_group(node)
        name, kind = f"{scope.prefix}{node['id']}", node["type"]
        inputs = {n: wrap(v) for n, v in _read_widgets(node, self.classes.get(kind)).items()}
        for one in node.get("inputs") or ():
            end = None if one.get("link") is None else self.trace(scope, one["link"])
            if isinstance(end, Literal):
                inputs[one["name"]] = wrap(end.value)
            elif end:
                inputs[one["name"]] = list(end)
        return Node(name, kind, inputs, node.get("title") or "")

    def trace(self, scope: Scope, number: Any) -> End:
        """Where a link begins, behind all reroutes, bypassed nodes and subgraphs."""
        wanted = _get_link(scope, number).type
        wanted = wanted if isinstance(wanted, Hashable) else "*"
        at: Place | End = Place(scope, number)
        seen: dict[tuple[str, Any, Any], None] = {}
        while isinstance(at, Place):
            key = (at.scope.prefix, at.number, wanted)
            if key in seen:
                raise GraphError("nodes that only pass on, such as reroutes, read one another in a circle")
            if key in self.ends:
                at = self.ends[key]
                break
            seen[key] = None
            at = self.step_back(at.scope, _get_link(at.scope, at.number), wanted)
        self.ends |= dict.fromkeys(seen, at)
        return at

    def step_back(self, scope: Scope, link: Link, wanted: Any) -> Place | End:
        if link.origin == SHELL_INPUT:
            return self.leave(scope, link.slot)
        if link.origin not in scope.nodes:
            raise GraphError(f"node {link.target} reads node {link.origin}, which is not in this file")
        node = scope.nodes[link.origin]
        if node.get("mode") == NEVER:
            return None
        if node.get("mode") == BYPASS:
            return _place_of(scope, _find_passed_input(node, link.slot, wanted))
        if node["type"] == REROUTE:
            return _place_of(scope, node["inputs"][0])
        if node["type"] == PRIMITIVE:
            return Literal(node["widgets_values"][0])
        if node["type"] in self.subgraphs:
            inner = self.enter(scope, node)
            return Place(inner, inner.exits[link.slot]) if link.slot in inner.exits else None
        return f"{scope.prefix}{link.origin}", link.slot

    def leave(self, scope: Scope, slot: int) -> Place | End:
        """What a subgraph's input reads: a link to its shell, or a value on it; None if the value inside is used."""
        if scope.shell is None or scope.outer is None:
            raise GraphError("a link begins at the input of a subgraph, but lies outside of all subgraphs")
        name, given = scope.inputs[slot]["name"], scope.shell.get("inputs") or ()
        beside = given[slot] if slot < len(given) else None  # names need not be unique
        socket = beside if beside and beside["name"] == name else scope.sockets.get(name)  # the editor leaves some out
        if place := _place_of(scope.outer, socket):
            return place
        values, are_all = scope.values
        if name not in values and not are_all:
            raise GraphError(
                f"node {scope.shell['id']} is a subgraph whose values are kept in a way that is not known here"
            )
        return Literal(values[name]) if name in values else None


def _list_objects(entries: Any, what: str) -> list[Json]:
    """The JSON objects of a list, which may be missing. Raises GraphError for anything else."""
    if not isinstance(entries or [], list):
        raise GraphError(f"its {what} are no list")
    for one in entries or ():
        if not isinstance(one, dict) or "id" not in one:
            raise GraphError(f"one of its {what} is no object with an id")
    return entries or []


def _demand_node(node: Json) -> Json:
    """Raise GraphError for a node without a type, and for one with more inputs or outputs than any needs."""
    if not isinstance(node.get("type"), str):
        raise GraphError(f"node {node['id']} has no type")
    for sockets in (node.get("inputs"), node.get("outputs")):
        if isinstance(sockets, list) and len(sockets) > MOST_SOCKETS:
            raise GraphError(f"node {node['id']} has {len(sockets)} inputs or outputs; {MOST_SOCKETS} are the most")
    return node


def _read_link(entry: Any) -> tuple[Any, Link]:
    if isinstance(entry, dict):
        names = ("origin_id", "origin_slot", "target_id", "target_slot", "type")
        return entry["id"], Link(*(entry[name] for name in names))
    return entry[0], Link(*entry[1:6])


def _get_link(scope: Scope, number: Any) -> Link:
    if number not in scope.links:
        raise GraphError(f"an input reads link {number}, which is not in this file")
    return scope.links[number]


def _is_off(node: Json) -> bool:
    return node.get("mode") in (NEVER, BYPASS)


def _place_of(scope: Scope, socket: Json | None) -> Place | None:
    return Place(scope, socket["link"]) if socket and socket.get("link") is not None else None


def _find_passed_input(node: Json, slot: int, wanted: Any) -> Json | None:
    """The input that a bypassed node passes to this output: the one beside it, or the first whose type fits."""
    inputs, given = node.get("inputs") or [], node["outputs"][slot]["type"]
    beside = inputs[slot] if slot < len(inputs) else None
    if wanted == "*":
        return beside or next(iter(inputs), None)
    if beside and types_match(beside["type"], given) and types_match(beside["type"], wanted):
        return beside
    exact = [one for one in inputs if one["type"] == wanted]
    return next(iter(exact or [one for one in inputs if types_match(one["type"], wanted)]), None)


def _read_shell_widgets(shell: Json) -> tuple[Mapping[str, Any], bool]:
    """The values of the widgets on the outside of a subgraph by name, and whether these are all."""
    values, named = shell.get("widgets_values") or [], shell.get("widgets_values_named") or {}
    if isinstance(values, dict):
        return {**values, **named}, True
    if not values:
        return named, True  # older editors write none: the values inside are used
    proxies = (shell.get("properties") or {}).get("proxyWidgets")
    widgets = [one["name"] for one in shell.get("inputs") or () if one.get("widget")]
    names = widgets if len(widgets) == len(values) else [what for who, what in proxies or () if str(who) == "-1"]
    if len(names) != len(values):
        return named, False
    return {**dict(zip(reversed(names), reversed(values), strict=True)), **named}, True


def _demand_no_group(node: Json) -> None:
    if node["type"].startswith(("workflow>", "workflow/")):
        raise GraphError(
            f"node {node['id']} ({node['type'][9:]}) is a group node, which is not read here: "
            "open the workflow in ComfyUI, which makes a subgraph of it, save it, and use that file"
        )


def _read_widgets(node: Json, cls: type | None) -> dict[str, Any]:
    """Name -> value of every widget: by its name in the file, by its place, or the default."""
    values = node.get("widgets_values") or []
    named = values if isinstance(values, dict) else node.get("widgets_values_named") or {}
    if cls is None:
        return {name: value for name, value in named.items() if name not in ("control_after_generate", "upload")}
    widgets = [one for one in Interface.of(cls).inputs if _is_widget(one)]
    placed = {} if isinstance(values, dict) else dict(zip(_name_values(widgets), values, strict=False))
    found = {one.name: named.get(one.name, placed.get(one.name, _default(one))) for one in widgets}
    return {name: value for name, value in found.items() if value is not None}


def _is_widget(one: Input) -> bool:
    return (one.choices is not None or one.type in VALUES) and not one.options.get("forceInput")


def _name_values(widgets: list[Input]) -> Iterator[str]:
    """A name for each entry of widgets_values; "" for entries that the editor adds behind a widget."""
    for one in widgets:
        yield one.name
        controlled = one.options.get("control_after_generate", one.name in SEEDS and one.type == "INT")
        yield from [""] * bool(controlled)
        yield from [""] * (bool(controlled) and one.choices is not None)  # a filter of its choices
        yield from [""] * any(one.options.get(upload) for upload in UPLOADS)


def _default(one: Input) -> Any:
    choices = one.choices
    return one.options.get("default", choices[0] if choices else None)
