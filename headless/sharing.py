"""Finds nodes that are the same computation, so that it runs once, as in the host.

Two nodes are the same if class, inputs and IS_CHANGED answer are equal and their links lead to outputs that are the
same. The second node gets the outputs of the first, and shows what the first shows.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from .calls import invoke
from .graph import Graph, Node, link, literal
from .interface import Interface

# The id and class of a node of the graph, and of itself or of one that it expanded into.
Place = tuple[str, str, str, type]


@dataclass
class Cache:
    """What the last run's nodes returned, for a next run in this process: nodes that are the same do not run again."""

    entries: dict[str, Any] = field(default_factory=dict)  # signature -> what was kept
    inner: dict[str, Any] = field(default_factory=dict)  # the same of nodes that others expanded into
    objects: dict[Place, Any] = field(default_factory=dict)  # of V1 classes, which may remember what they did

    def start(self, graph: Graph, signatures: Iterable[str]) -> dict[str, Any]:
        """Begin a run of these nodes: what others returned is dropped. Returns what is known of them.

        Objects are dropped with their node: as long as it stays in the graph it has the same one.
        """
        kinds = {(node.id, node.class_type) for node in graph.nodes.values()}
        self.objects = {place: one for place, one in self.objects.items() if place[:2] in kinds}
        wanted, inner = set(signatures), self.inner
        self.entries = {signature: one for signature, one in self.entries.items() if signature in wanted}
        self.inner = {}
        return {**inner, **self.entries}


def sign(node: Node, graph: Graph, interface: Interface, signed: Mapping[str, str], hidden: Any = None) -> str:
    """The signature of a node: nodes of one signature are the same computation, in every graph.

    signed: node id -> signature, of what it reads. hidden: what it is given as DYNPROMPT.
    """
    try:
        changed = _ask_whether_changed(node, graph, interface, hidden)
        inputs = [(name, _sign_value(value, signed)) for name, value in sorted(node.inputs.items())]
        own = node.id if interface.runs_alone else ""
        text = json.dumps([node.class_type, own, changed, inputs], sort_keys=True)
    except Exception:
        # A node whose IS_CHANGED fails is the same as no other, as in the host; so is one with inputs that are no JSON.
        text = uuid4().hex
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _ask_whether_changed(node: Node, graph: Graph, interface: Interface, hidden: Any) -> str:
    """The answer of IS_CHANGED or fingerprint_inputs. Nothing has run yet, so linked inputs are None."""
    asked = interface.fingerprint
    if asked is None:
        return ""
    linked = interface.links(node)
    values = {one.name: [literal(node.inputs[one.name])] for one in interface.list_given(node)}
    values |= {name: [None] for name in linked}
    if not interface.is_third:
        values |= {name: [value] for name, value in interface.hidden_values(node, graph, hidden).items()}
    # NaN is the host's word for "always changed", and the one number JSON does not have.
    return json.dumps(invoke(interface.bind(asked, node), values, interface.takes_lists), allow_nan=False)


def _sign_value(value: Any, signed: Mapping[str, str]) -> Any:
    found = link(value)
    return ["link", signed.get(found[0], found[0]), found[1]] if found else ["value", value]
