"""Converts a workflow as the editor saves it (versions 0.4 and 1, with subgraphs) to the graph that the host runs.

It does what the editor does when a workflow is queued: it drops notes, muted nodes and the shells of subgraphs; follows
links through reroutes, bypassed nodes and subgraphs to the node behind them; and gives the values of widgets, which are
kept in order, the names that the node's class declares.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .graph import Graph, GraphError, Node, wrap
from .interface import Input, Interface, types_match

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
        self.subgraphs = {one["id"]: one for one in (workflow.get("definitions") or {}).get("subgraphs") or ()}
        self.scopes: dict[str, Scope] = {}  # by prefix

    def scope(self, graph: Json, prefix: str = "", shell: Json | None = None, outer: Scope | None = None) -> Scope:
        links = dict(map(_read_link, graph.get("links") or ()))
        nodes = {node["id"]: node for node in graph["nodes"]}
        return Scope(prefix, nodes, links, graph.get("inputs") or (), shell, outer)

    def enter(self, scope: Scope, shell: Json) -> Scope:
        prefix = f"{scope.prefix}{shell['id']}:"
        if prefix not in self.scopes:
            kinds, above = [shell["type"]], scope
            while above.shell:
                kinds.append(above.shell["type"])
                above = above.outer or above
            if kinds[0] in kinds[1:]:
                raise GraphError(f"the subgraph '{self.subgraphs[shell['type']].get('name')}' contains itself")
            self.scopes[prefix] = self.scope(self.subgraphs[shell["type"]], prefix, shell, scope)
        return self.scopes[prefix]

    def graph(self, scope: Scope) -> Iterator[Node]:
        for node in scope.nodes.values():
            kind = node["type"]
            if _is_off(node) or kind in (*NOTES, REROUTE, PRIMITIVE):
                continue
            if kind in self.subgraphs:
                yield from self.graph(self.enter(scope, node))
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
        at: Place | End = Place(scope, number)
        seen = set()
        while isinstance(at, Place):
            if (at.scope.prefix, at.number) in seen:
                raise GraphError("nodes that only pass on, such as reroutes, read one another in a circle")
            seen.add((at.scope.prefix, at.number))
            at = self.step_back(at.scope, _get_link(at.scope, at.number), wanted)
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
            return _find_exit(self.enter(scope, node), link.slot)
        return f"{scope.prefix}{link.origin}", link.slot

    def leave(self, scope: Scope, slot: int) -> Place | End:
        """What a subgraph's input reads: a link to its shell, or a value on it; None if the value inside is used."""
        assert scope.shell is not None and scope.outer is not None  # a workflow itself has no inputs
        name, sockets = scope.inputs[slot]["name"], list(scope.shell.get("inputs") or ())
        beside = sockets[slot : slot + 1]  # names need not be unique, and the editor leaves some inputs out
        socket = next((one for one in beside + sockets if one["name"] == name), None)
        return _place_of(scope.outer, socket) or _read_shell_widget(scope.shell, name)


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


def _find_exit(scope: Scope, slot: int) -> Place | None:
    """The link inside a subgraph that feeds this output of its shell."""
    ends = (number for number, link in scope.links.items() if (link.target, link.into) == (SHELL_OUTPUT, slot))
    number = next(ends, None)
    return None if number is None else Place(scope, number)


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


def _read_shell_widget(shell: Json, name: str) -> Literal | None:
    """The value of a widget on the outside of a subgraph."""
    values, named = shell.get("widgets_values") or [], shell.get("widgets_values_named") or {}
    if name in named:
        return Literal(named[name])
    if not values:
        return None  # older editors: the value inside is used
    proxies = (shell.get("properties") or {}).get("proxyWidgets")
    widgets = [one["name"] for one in shell.get("inputs") or () if one.get("widget")]
    names = widgets if len(widgets) == len(values) else [what for who, what in proxies or () if str(who) == "-1"]
    if len(names) != len(values):
        raise GraphError(f"node {shell['id']} is a subgraph whose values are kept in a way that is not known here")
    return Literal(values[names.index(name)]) if name in names else None


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
