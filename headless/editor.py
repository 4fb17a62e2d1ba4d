"""Converts a workflow as the editor saves it (versions 0.4 and 1, with subgraphs) to the graph that the host runs.

It does what the editor does when a workflow is queued: it drops notes, muted nodes and the shells of subgraphs; follows
links through reroutes, bypassed nodes and subgraphs to the node behind them; and gives the values of widgets, which are
kept in order, the names that the node's class declares.
"""

from collections.abc import Hashable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from .controls import Control, read_control_of_primitive
from .graph import Graph, GraphError, Node, wrap
from .inputs import Input
from .interface import Interface
from .limits import DEEPEST, MOST_NODES
from .numbers import renumber
from .scopes import SHELL_INPUT, Json, Link, Scope, demand_node, list_objects, read_link
from .texts import PREFIX, SAVERS, fill_choices, fill_prefix
from .unsent import GETTER, REROUTES, SETTER, UNSENT, demand_no_group, find_passed_input, is_group
from .widgets import Row, read_widgets

NEVER, BYPASS = 2, 4  # modes of a node; in all others it runs
SEARCHED = "Node name for S&R"  # a property of nodes


class Literal(NamedTuple):
    """A value instead of a node: of a primitive, or of a widget on the outside of a subgraph."""

    value: Any
    control: Control | None = None


class Place(NamedTuple):
    scope: Scope
    number: Any  # of a link in it


End = tuple[str, int] | Literal | None  # what is read at last: a node's output, a value, or nothing


def is_workflow(obj: Any) -> bool:
    return isinstance(obj, dict) and isinstance(obj.get("nodes"), list)


def from_editor(workflow: Json, nodes: Mapping[str, type]) -> Graph:
    """nodes: class_type -> node class, whose declarations name the values of widgets.

    For a class that is missing here, only links and the values that the file names are read; `check` will report it.
    Raises GraphError for a file that cannot be read.
    """
    try:
        definitions = list_objects((workflow.get("definitions") or {}).get("subgraphs"), "subgraphs")
        numbered, subgraphs = renumber(workflow, {one["id"]: one for one in definitions})
        reading = _Reader(numbered, subgraphs, nodes)
        found = {node.id: node for node in reading.graph()}
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise GraphError(f"this workflow cannot be read: {type(error).__name__}: {error}") from error
    return Graph(found, {"workflow": workflow}, reading.controls, from_editor=True)


class _Reader:
    def __init__(self, workflow: Json, subgraphs: Mapping[Any, Json], nodes: Mapping[str, type]):
        self.classes = nodes
        self.inputs: dict[str, tuple[Input, ...]] = {}  # by classes
        self.drawn: dict[str, tuple[str, ...]] = {}  # by classes
        self.controls: dict[tuple[str, str], Control] = {}
        self.now = datetime.now()
        self.subgraphs = subgraphs
        self.scopes: dict[str, Scope] = {}  # by prefix
        self.ends: dict[tuple[str, Any, Any], End] = {}  # of links that were followed: (prefix, number, type)
        self.count = 0  # of nodes in all scopes
        self.root = self.scope(workflow)

    def scope(self, graph: Json, prefix: str = "", shell: Json | None = None, outer: Scope | None = None) -> Scope:
        links = dict(map(read_link, filter(None, graph.get("links") or ())))  # the editor leaves null for some
        nodes = {node["id"]: demand_node(node) for node in list_objects(graph["nodes"], "nodes")}
        self.count += len(nodes)
        if self.count > MOST_NODES:
            raise GraphError(f"it has more than {MOST_NODES} nodes when its subgraphs are put in, and is not read")
        kinds = (*outer.kinds, shell["type"]) if outer and shell else ()
        sockets = (graph.get("inputs") or (), graph.get("outputs") or ()) if shell else ((), ())
        return Scope(prefix, nodes, links, *sockets, shell, outer, kinds)

    def enter(self, scope: Scope, shell: Json) -> Scope:
        prefix, kind = f"{scope.prefix}{shell['id']}:", shell["type"]
        if prefix not in self.scopes:
            if kind in scope.kinds:
                raise GraphError(f"the subgraph '{self.subgraphs[kind].get('name')}' contains itself")
            if len(scope.kinds) >= DEEPEST:
                raise GraphError(f"its subgraphs lie more than {DEEPEST} deep within one another, and are not read")
            self.scopes[prefix] = self.scope(self.subgraphs[kind], prefix, shell, scope)
        return self.scopes[prefix]

    def graph(self) -> Iterator[Node]:
        """The nodes that can run, in the order of the file; a subgraph's at the place of its shell."""
        waiting = [(self.root, iter(self.root.nodes.values()))]
        while waiting:
            scope, nodes = waiting[-1]
            node = next(nodes, None)
            if node is None:
                waiting.pop()
            elif self.is_unsent(node) or (_is_off(node) and not self.is_nested_shell(scope, node)):
                continue
            elif node["type"] in self.subgraphs:
                inner = self.enter(scope, node)
                waiting.append((inner, iter(inner.nodes.values())))
            else:
                yield self.node(scope, node)

    def is_unsent(self, node: Json) -> bool:
        """Is this a node that the editor keeps for itself? Of the many that packs have, those that nothing can link."""
        kind = node["type"]
        if kind in self.classes or kind in self.subgraphs:
            return False
        return kind in UNSENT or not (node.get("inputs") or node.get("outputs") or is_group(node))

    def is_nested_shell(self, scope: Scope, node: Json) -> bool:
        """Within a subgraph the editor sends what is in another one, even if its shell is off."""
        return scope.shell is not None and node["type"] in self.subgraphs

    def inputs_of(self, kind: str) -> tuple[Input, ...] | None:
        if kind not in self.inputs and kind in self.classes:
            self.inputs[kind] = Interface.of(self.classes[kind]).inputs
        return self.inputs.get(kind)

    def read_row(self, node: Json) -> Row:
        """The widgets of a node itself."""
        return read_widgets(node, self.inputs_of(node["type"]))

    def node(self, scope: Scope, node: Json) -> Node:
        demand_no_group(node)
        promoted, listed, own = scope.values.of(node), scope.values.listed, str(node["id"])
        inputs: dict[str, Any] = {}
        row = self.read_row(node)
        controls = self.list_controls(scope, node, row)
        for name, value in row.found.items():
            sent = value if (own, name) in listed else self.fill(node, name, value)
            inputs[name] = wrap(promoted.get(name, sent))
        for one in node.get("inputs") or ():
            name, number = one["name"], one.get("link")
            # A link that is gone, of a widget that the shell lists, the editor makes anew: it leads to the shell.
            gone = number not in scope.links and (own, name) in listed
            end = None if number is None or gone else self.trace(scope, number)
            if isinstance(end, Literal):
                direct = scope.find_primitive(_get_link(scope, number).origin)
                value = self.fill(node, name, end.value) if direct else end.value
                inputs[name] = wrap(promoted.get(name, value))
                controls |= {name: end.control} if end.control else {}
            elif end:
                inputs[name] = list(end)
        self.controls |= {(f"{scope.prefix}{own}", name): control for name, control in controls.items()}
        return Node(f"{scope.prefix}{own}", node["type"], inputs, node.get("title") or "")

    def list_controls(self, scope: Scope, node: Json, row: Row) -> dict[str, Control]:
        """Those of the node's own widgets that no link feeds. Uses of one subgraph share what lies in it."""
        links = {one["name"]: one.get("link") for one in node.get("inputs") or ()}
        promoted = scope.values.of(node)
        found = {name: control for name, control in row.controls.items() if links.get(name) not in scope.links}
        shared = f"{scope.kinds[-1]}:{node['id']}" if scope.kinds else ""
        return {
            name: control._replace(whose=f"{shared}.{name}") if shared and name not in promoted else control
            for name, control in found.items()
        }

    def fill(self, node: Json, name: str, value: Any) -> Any:
        """What the editor sends for the text of a widget. It sends texts on subgraphs as they are."""
        if not isinstance(value, str):
            return value
        if name == PREFIX and node["type"] in SAVERS:
            return fill_prefix(value, self.find_value, self.now)
        return fill_choices(value) if name in self.drawn_texts(node["type"]) else value

    def drawn_texts(self, kind: str) -> tuple[str, ...]:
        """The names of the widgets whose texts may hold choices."""
        if kind not in self.drawn:
            inputs = self.inputs_of(kind) or ()
            self.drawn[kind] = tuple(one.name for one in inputs if one.options.get("dynamicPrompts"))
        return self.drawn[kind]

    @cached_property
    def called(self) -> tuple[Mapping[Any, tuple[Scope, Json]], Mapping[Any, tuple[Scope, Json]]]:
        """The first node of each name that is searched for, and of each title."""
        everybody = list(self.walk())[::-1]
        names = {(one[1].get("properties") or {}).get(SEARCHED, one[1]["type"]): one for one in everybody}
        return names, {one[1].get("title"): one for one in everybody}

    def find_value(self, who: str, name: str) -> Any:
        """The value of a widget of the first node that is called so for searches, or else has this title."""
        named, titled = self.called
        scope, node = named.get(who) or titled.get(who) or (None, None)
        if scope is None or node is None:
            return None
        if node["type"] not in self.subgraphs:
            return self.read_row(node).found.get(name)
        inner = self.enter(scope, node)
        found = self.read_promoted(inner, inner.names[name]) if name in inner.names else None
        return found.value if found else None

    def walk(self) -> Iterator[tuple[Scope, Json]]:
        """All nodes, in the order of the file; those of a subgraph behind its shell."""
        waiting = [(self.root, iter(self.root.nodes.values()))]
        while waiting:
            scope, nodes = waiting[-1]
            if (node := next(nodes, None)) is None:
                waiting.pop()
                continue
            yield scope, node
            if node["type"] in self.subgraphs:
                inner = self.enter(scope, node)
                waiting.append((inner, iter(inner.nodes.values())))

    def trace(self, scope: Scope, number: Any) -> End:
        """Where a link begins, behind all reroutes, bypassed nodes and subgraphs."""
        if direct := self.read_primitive(scope, _get_link(scope, number).origin):
            return direct
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
        """One step towards the beginning."""
        if link.origin == SHELL_INPUT:
            return self.leave(scope, link.slot)
        if link.origin not in scope.nodes:
            raise GraphError(f"node {link.target} reads node {link.origin}, which is not in this file")
        node = scope.nodes[link.origin]
        if node.get("mode") == NEVER:
            return None
        if node.get("mode") == BYPASS:
            return _place_of(scope, find_passed_input(node, link.slot, wanted))
        if node["type"] in self.subgraphs:
            inner = self.enter(scope, node)
            return Place(inner, inner.exits[link.slot]) if link.slot in inner.exits else None
        return _pass_on(scope, node) if self.is_unsent(node) else (f"{scope.prefix}{link.origin}", link.slot)

    def leave(self, scope: Scope, slot: int) -> Place | End:
        """What a subgraph's input reads: a link to its shell, or the value of the widget that it stands for."""
        if scope.shell is None or scope.outer is None:
            raise GraphError("a link begins at the input of a subgraph, but lies outside of all subgraphs")
        name, given = scope.inputs[slot]["name"], scope.shell.get("inputs") or ()
        beside = given[slot] if slot < len(given) else None  # names need not be unique
        socket = beside if beside and beside["name"] == name else scope.sockets.get(name)  # the editor leaves some out
        return _place_of(scope.outer, socket) or self.read_promoted(scope, slot)

    def read_promoted(self, scope: Scope, slot: int) -> Literal | None:
        """The value on the shell; if it has none, that of the widget inside, which all that the input feeds get."""
        node, name = scope.find_widget(slot) or (None, "")
        row, inside = (self.find_concrete(scope, node, name) if node else None) or (None, "")
        control = row.controls.get(inside) if row else None
        control = control._replace(whose=f"{scope.prefix}{slot}") if control else None
        if slot in scope.values.slots:
            return Literal(scope.values.slots[slot], control)
        if node is None:
            return None
        if node["type"] in self.subgraphs:
            inner = self.enter(scope, node)
            found = self.read_promoted(inner, inner.names[name]) if name in inner.names else None
            return Literal(found.value, control) if found else None
        row = {**self.read_row(node).found, **scope.values.of(node)}
        return Literal(row[name], control) if name in row else None

    def find_concrete(self, scope: Scope, node: Json, name: str) -> tuple[Row, str] | None:
        """The node on which this widget lies, however deep in subgraphs, as its row, and the widget's name there."""
        if node["type"] not in self.subgraphs:
            return self.read_row(node), name
        inner = self.enter(scope, node)
        found = inner.find_widget(inner.names[name]) if name in inner.names else None
        return self.find_concrete(inner, *found) if found else None

    def read_primitive(self, scope: Scope, number: Any) -> Literal | None:
        """The value of a primitive, muted or not, for all it is linked to. Behind reroutes the editor reads none."""
        node = scope.find_primitive(number)
        if node is None:
            return None
        values = node.get("widgets_values")
        row = values if isinstance(values, list) else []
        found = {**({"value": row[0]} if row else {}), **scope.values.of(node)}
        fed = [self.find_fed(scope, link) for link in _first_links(node)]
        control = read_control_of_primitive(row, filter(None, fed), f"{(scope.kinds or ('',))[-1]}:{number}")
        return Literal(found["value"], control) if found else None

    def find_fed(self, scope: Scope, number: Any) -> Input | None:
        """The declaration of the widget that a link leads to."""
        link = scope.links.get(number)
        node = scope.nodes.get(link.target) if link else None
        inputs = (node or {}).get("inputs") or ()
        if link is None or node is None or not 0 <= link.into < len(inputs):
            return None
        row, name = self.find_concrete(scope, node, inputs[link.into]["name"]) or (None, "")
        return row.inputs.get(name) if row else None


def _get_link(scope: Scope, number: Any) -> Link:
    if number not in scope.links:
        raise GraphError(f"an input reads link {number}, which is not in this file")
    return scope.links[number]


def _is_off(node: Json) -> bool:
    return node.get("mode") in (NEVER, BYPASS)


def _place_of(scope: Scope, socket: Json | None) -> Place | None:
    return Place(scope, socket["link"]) if socket and socket.get("link") is not None else None


def _first_links(node: Json) -> list[Any]:
    """The links of its first output."""
    return next((one.get("links") or [] for one in node.get("outputs") or ()), [])


def _pass_on(scope: Scope, node: Json) -> Place | None:
    """What one of the editor's own nodes gives, which is what it reads."""
    values = node.get("widgets_values") or ()
    if node["type"] == GETTER:
        return _find_set(scope, values[0]) if values else None
    passes = node["type"] in (*REROUTES, SETTER)
    return _place_of(scope, next(iter(node.get("inputs") or ()), None)) if passes else None


def _find_set(scope: Scope, name: Any) -> Place | None:
    """What this name was given, in this graph or one around it."""
    around: Scope | None = scope
    while around:
        if name in around.setters:
            return _place_of(around, next(iter(around.setters[name].get("inputs") or ()), None))
        around = around.outer
    return None
