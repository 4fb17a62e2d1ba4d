"""The nodes of a run: those of the graph, and those that nodes expand into while it runs.

A node expands by returning {"expand": a graph in API format, "result": outputs, or links to nodes of that graph}. The
new nodes may read any node of the graph, and inputs of theirs may be values of any kind.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..vae_core.errors import VAEError
from .calls import Returned
from .check import walk_upstream
from .definitions import Declared
from .graph import Graph, Node, find_nearest, link
from .interface import Interface
from .limits import MOST_EXPANDED
from .sharing import sign


@dataclass(frozen=True)
class Pending:
    """A node that has expanded, and waits for what it expanded into.

    returned: of its calls; links are to `needs`. needs: ids of nodes that must run first, their twins.
    """

    returned: list[Returned]
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Look:
    """How far a run is. Both are asked for a twin.

    sources: what it still has to read; nothing if it has run, and its outputs are there, or if it failed
    is_gone: has it run, so that its outputs were dropped?
    """

    sources: Callable[[str], Iterable[str]]
    is_gone: Callable[[str], bool]


class Growing:
    """Nodes by their ids, with their signatures and their twins: the nodes that run in their place.

    As DYNPROMPT it is given to nodes that ask for it, with the host's methods.
    """

    def __init__(self, graph: Graph, order: Iterable[str], classes: Mapping[str, type]):
        """order: ids of the nodes that are needed, each after those it reads."""
        self.graph, self.classes = graph, classes
        self.nodes = dict(graph.nodes)
        self.interfaces: dict[str, Interface] = {}
        self.parents: dict[str, str] = {}  # id of a new node -> of the one that expanded into it
        self.signed: dict[str, str] = {}
        self.twins: dict[str, str] = {}
        self._first: dict[str, str] = {}  # signature -> id of the node that runs
        for node_id in order:
            self._sign(node_id)

    def interface(self, node_id: str) -> Interface:
        kind = self.nodes[node_id].class_type
        if kind not in self.interfaces:
            self.interfaces[kind] = Interface.of(self.classes[kind])
        return self.interfaces[kind]

    def links(self, node_id: str) -> dict[str, tuple[str, int]]:
        """Input -> (the twin of the node it reads, slot)."""
        links = self.interface(node_id).links(self.nodes[node_id])
        return {name: (self.twins[source], slot) for name, (source, slot) in links.items()}

    def sources(self, node_id: str) -> set[str]:
        return {source for source, _ in self.links(node_id).values()}

    def list_upstream(self, node_id: str) -> set[str]:
        """The twins of all nodes that it needs, however far away."""
        return set(walk_upstream(self.sources, [node_id])[0]) - {node_id}

    def root(self, node_id: str) -> str:
        """The node of the graph from which a node came, by however many expansions."""
        while node_id in self.parents:
            node_id = self.parents[node_id]
        return node_id

    def name(self, node_id: str) -> str:
        """A node in words, with that of the graph from which it came."""
        root = self.root(node_id)
        inner = f", in {self.nodes[node_id]}" if root != node_id else ""
        return f"{self.nodes[root]}{inner}"

    def grow(self, parent: str, returned: list[Returned], look: Look) -> tuple[Pending, list[str]]:
        """Take in the nodes that a node expands into.

        Returns what it waits for, and the twins of all nodes that are to run for that, each after those it reads.
        Raises VAEError.
        """
        calls = [self._add(parent, i, one) for i, one in enumerate(returned)]
        ends = [end for call in calls if call.expand is not None for end in self._find_ends(call)]
        for node_id in self._walk(parent, ends, look):
            self._sign(node_id, look)
        needs = list(dict.fromkeys(self.twins[end] for end in ends))
        return Pending(calls, tuple(needs)), self._walk(parent, needs, look)

    def _walk(self, parent: str, ends: list[str], look: Look) -> list[str]:
        def read(node_id: str) -> Iterable[str]:
            if node_id == parent:
                return ends
            if node_id in self.twins:
                return look.sources(self.twins[node_id])
            links = self.interface(node_id).links(self.nodes[node_id])
            return [self.twins.get(source, source) for source, _ in links.values()]

        order, circles = walk_upstream(read, [parent])
        if circles:
            circle = " -> ".join(circles[0])
            raise VAEError(f"expands into nodes that wait for it or for one another, without an end: {circle}")
        return order[:-1]

    def _sign(self, node_id: str, look: Look | None = None) -> None:
        if node_id in self.signed:
            return
        node, interface = self.nodes[node_id], self.interface(node_id)
        signature = self.signed[node_id] = sign(node, self.graph, interface, self.signed, self)
        first = self._first.setdefault(signature, node_id)
        if look and look.is_gone(first):
            first = self._first[signature] = node_id
        self.twins[node_id] = first

    def _add(self, parent: str, call: int, returned: Returned) -> Returned:
        """The nodes of one call, under ids that are free, and its results as links to these."""
        if returned.expand is None:
            return returned
        if not isinstance(returned.expand, Mapping):
            raise VAEError(f"expands into a {type(returned.expand).__name__}; a graph is a dict of nodes by their ids")
        if len(self.nodes) + len(returned.expand) > MOST_EXPANDED:
            raise VAEError(f"expands without an end: a run has {MOST_EXPANDED:,} nodes at most")
        names = {node_id: self._find_free(str(node_id), parent, call) for node_id in returned.expand}
        made = {names[old]: _read_node(names[old], entry, names) for old, entry in returned.expand.items()}
        self._demand_classes(made.values())
        self.nodes |= made
        self.parents |= dict.fromkeys(made, parent)
        for node in made.values():
            self._demand_sources(node)
        results = tuple(_follow(one, names) for one in returned.results)
        return replace(returned, results=results, expand=dict.fromkeys(made))

    def _find_free(self, node_id: str, parent: str, call: int) -> str:
        return f"{parent}.{call}.{node_id}" if node_id in self.nodes else node_id

    def _demand_classes(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            kind = self.classes.get(node.class_type)
            if kind is None:
                near = find_nearest(node.class_type, self.classes)[:1]
                hint = f"; nearest is '{near[0]}'" if near else ""
                raise VAEError(f"expands into a node of class '{node.class_type}', which is not known here{hint}")
            if issubclass(kind, Declared):
                raise VAEError(f"expands into {node}, of which only the declaration is known here")

    def _demand_sources(self, node: Node) -> None:
        for source, _ in self.interface(node.id).links(node).values():
            if source not in self.nodes:
                raise VAEError(f"expands into {node}, which reads node {source}, and there is none")

    def _find_ends(self, call: Returned) -> list[str]:
        """The nodes that its results lead to, and new ones that are outputs."""
        linked = [found[0] for found in map(link, call.results) if found]
        missing = [node_id for node_id in linked if node_id not in self.nodes]
        if missing:
            raise VAEError(f"expands into nodes, and returns an output of node {missing[0]}, which is none of them")
        return [*linked, *(node_id for node_id in call.expand or () if self.interface(node_id).is_output)]

    # What the host calls the same, for nodes that are given it as DYNPROMPT:

    def get_node(self, node_id: str) -> dict[str, Any]:
        """In API format. Raises KeyError."""
        node = self.nodes[node_id]
        return {"class_type": node.class_type, "inputs": dict(node.inputs)}

    def has_node(self, node_id: str) -> bool:
        return node_id in self.nodes

    def all_node_ids(self) -> set[str]:
        return set(self.nodes)

    def get_original_prompt(self) -> dict[str, Any]:
        return self.graph.prompt

    def get_real_node_id(self, node_id: str) -> str:
        return self.root(node_id)

    def get_display_node_id(self, node_id: str) -> str:
        return self.root(node_id)

    def get_parent_node_id(self, node_id: str) -> str | None:
        return self.parents.get(node_id)


def _read_node(node_id: str, entry: Any, names: Mapping[str, str]) -> Node:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("class_type"), str):
        raise VAEError(f"expands into a node {node_id} that does not say its class")
    given = entry.get("inputs") or {}
    title = (entry.get("_meta") or {}).get("title", "")
    return Node(node_id, entry["class_type"], {name: _follow(value, names) for name, value in given.items()}, title)


def _follow(value: Any, names: Mapping[str, str]) -> Any:
    found = link(value)
    return [names.get(found[0], found[0]), found[1]] if found else value
