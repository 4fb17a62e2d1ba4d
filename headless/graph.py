"""A graph of nodes in the API format.

Inputs stay JSON: a link is the list ["<id>", slot], and a list that is a value is wrapped as {"__value__": [...]}, so
that it is never taken for a link. `literal` unwraps it where it is read.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple

from ..vae_core.errors import VAEError, some
from ..vae_core.files import parse_json
from .controls import Control
from .limits import LONGEST_ADDRESS

_FLAGS = MappingProxyType(
    {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
)


class GraphError(VAEError):
    """A graph that cannot be read, checked or run.

    body: what the host would answer, as JSON: {"error", "node_errors"} or a record of the node that failed.
    """

    def __init__(self, sentence: str, body: dict[str, Any] | None = None):
        super().__init__(sentence)
        self.body = body


@dataclass(frozen=True)
class Node:
    id: str
    class_type: str  # "" where the file has none
    inputs: Mapping[str, Any]
    title: str = ""

    def __str__(self) -> str:
        """'node 4 (VAEDecode)', with the title if somebody chose one."""
        name = self.class_type or "no class"
        return f"node {self.id} ({name})" if self.title in ("", name) else f"node {self.id} ({name}, '{self.title}')"


class Output(NamedTuple):
    """An output of a node, to be given as an input to another."""

    node: str
    slot: int


@dataclass(frozen=True)
class Added:
    """A node that was added to a graph. `added[1]` is its second output, and `added` as an input its first."""

    id: str

    def __getitem__(self, slot: int) -> Output:
        return Output(self.id, slot)


@dataclass(frozen=True)
class Graph:
    """Nodes by their ids. A new graph is empty, and grows by `add`."""

    nodes: dict[str, Node] = field(default_factory=dict)
    pnginfo: Mapping[str, Any] | None = None  # what saved images carry besides the graph, as "workflow"
    controls: Mapping[tuple[str, str], Control] = field(default_factory=dict)  # of (node, input): between runs
    from_editor: bool = False  # was it read from the editor's format, whose values have no names of their own?
    embedded: bool = True  # do the files that nodes save carry the graph?

    def add(
        self, class_type: str, inputs: Mapping[str, Any] | None = None, /, *, id: str = "", title: str = "", **more: Any
    ) -> Added:
        """Add a node: add("EmptyImage", width=64), add("SaveImage", images=sky, title="Save").

        inputs: those whose names Python does not take as keywords. A value is JSON, a node or an output of one; lists
        are values. id: the next number if none is given. Raises GraphError if a node has this id.
        """
        number = id or str(next(i for i in count(len(self.nodes) + 1) if str(i) not in self.nodes))
        if number in self.nodes:
            raise GraphError(f"there is a node '{number}' in this graph already: {self.nodes[number]}")
        given = {name: _give(value) for name, value in {**(inputs or {}), **more}.items()}
        self.nodes[number] = Node(number, class_type, given, title)
        vars(self).pop("prompt", None)
        return Added(number)

    def set(self, address: str, text: str) -> "Graph":
        """The same graph with one input changed: set("3.seed", "7").

        The node is named by its id, or by a title or class that only one node has. The text is read as JSON where
        that works. Raises GraphError if there is no such node or input, or if the input is true or false and the text
        is neither.
        """
        node, name = self._find_input(address)
        return replace_input(self, node, name, _parse_value(text, node.inputs[name]))

    def put(self, address: str, value: Any) -> "Graph":
        """As `set`, with a value as JSON has it: put("3.seed", 7). A list of a node's id and a number is a link."""
        node, name = self._find_input(address)
        return replace_input(self, node, name, value if link(value) else wrap(value))

    def _find_input(self, address: str) -> tuple[Node, str]:
        who, name = self._split_address(address)
        node = self.find(who)
        if name not in node.inputs:
            raise GraphError(f"{node} has no input '{name}' in this file{_suggest(name, node.inputs)}")
        return node, name

    def find(self, name: str) -> Node:
        """The node with this id, or the only one with this title or class."""
        found = self._find_all(name)
        if not found:
            raise GraphError(
                f"there is no node '{name}' in this graph; it has {some(map(str, self.nodes.values()), 6)}"
            )
        if len(found) > 1:
            ids = ", ".join(node.id for node in found)
            raise GraphError(f"{len(found)} nodes are called '{name}': say which by its id ({ids})")
        return found[0]

    @cached_property
    def prompt(self) -> dict[str, Any]:
        """The API format: one object for all nodes that ask for it, as in the host."""
        return self.to_json()

    def to_json(self) -> dict[str, Any]:
        """The API format again."""
        return {node.id: _node_json(node) for node in self.nodes.values()}

    def _find_all(self, name: str) -> list[Node]:
        if name in self.nodes:
            return [self.nodes[name]]
        titled = [node for node in self.nodes.values() if node.title == name]
        return titled or [node for node in self.nodes.values() if node.class_type == name]

    def _split_address(self, address: str) -> tuple[str, str]:
        # Titles and input names may contain dots, so the nodes of the graph decide where the node's name ends.
        if len(address) > LONGEST_ADDRESS:  # asked first: of so many dots the splits would take gigabytes
            raise GraphError(f"'{address}' is too long: a node and its input have {LONGEST_ADDRESS} letters at most")
        splits = [(address[:i], address[i + 1 :]) for i, letter in enumerate(address) if letter == "."]
        if not splits:
            raise GraphError(f"'{address}' does not say which input of which node: write it as 3.seed")
        known = [split for split in splits if self._find_all(split[0])]
        exact = [(who, name) for who, name in known if any(name in node.inputs for node in self._find_all(who))]
        return (exact or known or splits)[0]


def replace_input(graph: Graph, node: Node, name: str, value: Any) -> Graph:
    """The same graph with another value, as JSON has it, of an input of a node."""
    changed = replace(node, inputs={**node.inputs, name: value})
    return replace(graph, nodes={**graph.nodes, node.id: changed})


def link(value: Any) -> tuple[str, int] | None:
    """(node id, output slot) if the host reads this value as a link, else None."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    source, slot = value
    if not isinstance(source, str) or not isinstance(slot, int | float) or isinstance(slot, bool):
        return None
    # A slot such as 0.5 or inf is a link to an output that is not there: no node has an output -1.
    return source, int(slot) if slot == slot // 1 else -1


def _give(value: Any) -> Any:
    if isinstance(value, Added):
        return [value.id, 0]
    return list(value) if isinstance(value, Output) else wrap(value)


def literal(value: Any) -> Any:
    """The value itself, without the wrapping that marks a list as no link."""
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def wrap(value: Any) -> Any:
    """The reverse of `literal`."""
    return {"__value__": value} if isinstance(value, list) else value


def find_nearest(name: str, names: Iterable[str]) -> list[str]:
    """The names most like this one, at most three, for sentences about misspelt names."""
    return difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)


def _node_json(node: Node) -> dict[str, Any]:
    entry: dict[str, Any] = {"class_type": node.class_type, "inputs": dict(node.inputs)}
    if node.title:
        entry["_meta"] = {"title": node.title}
    return entry


def _parse_value(text: str, present: Any) -> Any:
    try:
        value = parse_json(text, parse_constant=_refuse_constant)
    except ValueError:
        value = text
    if isinstance(present, bool) and not isinstance(value, bool | list):
        return _parse_flag(str(value))
    # Where the file holds text, 1.50 or true is text too: read as a number it would come back as 1.5.
    if isinstance(present, str) and not isinstance(value, str | list | dict):
        return text
    return value if link(value) else wrap(value)


def _parse_flag(text: str) -> bool:
    """The host takes any text that is not empty for true, "False" too."""
    word = text.strip().lower()
    if word not in _FLAGS:
        raise GraphError(f"'{text}' is neither true nor false, as this input is: give one of them")
    return _FLAGS[word]


def _refuse_constant(name: str) -> Iterator[Any]:
    raise ValueError(f"{name} is not JSON")


def _suggest(name: str, names: Mapping[str, Any]) -> str:
    near = find_nearest(name, names)
    if near:
        return f"; nearest is '{near[0]}'"
    return f"; it has {some(names, 6)}" if names else ""
