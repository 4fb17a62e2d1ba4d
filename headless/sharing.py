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


@dataclass
class Cache:
    """What the last run's nodes returned, for a next run in this process: nodes that are the same do not run again."""

    entries: dict[str, Any] = field(default_factory=dict)  # signature -> what was kept

    def start(self, signatures: Iterable[str]) -> dict[str, Any]:
        """Begin a run of these nodes: what others returned is dropped. Returns what is known of them."""
        wanted = set(signatures)
        self.entries = {signature: one for signature, one in self.entries.items() if signature in wanted}
        return dict(self.entries)


def sign(graph: Graph, order: tuple[str, ...], interfaces: Mapping[str, Interface]) -> dict[str, str]:
    """Node id -> its signature: nodes of one signature are the same computation, in every graph.

    order: ids, each after those it reads. interfaces: class_type -> Interface.
    """
    signed: dict[str, str] = {}
    for node_id in order:
        node = graph.nodes[node_id]
        signed[node_id] = _sign_node(node, graph, interfaces[node.class_type], signed)
    return signed


def find_twins(signed: Mapping[str, str]) -> dict[str, str]:
    """Node id -> id of the node that runs in its place, itself if it is the first of its kind."""
    first: dict[str, str] = {}
    return {node_id: first.setdefault(signature, node_id) for node_id, signature in signed.items()}


def _sign_node(node: Node, graph: Graph, interface: Interface, signed: Mapping[str, str]) -> str:
    try:
        changed = _ask_is_changed(node, graph, interface)
        inputs = [(name, _sign_value(value, signed)) for name, value in sorted(node.inputs.items())]
        own = node.id if interface.runs_alone else ""
        text = json.dumps([node.class_type, own, changed, inputs], sort_keys=True)
    except Exception:
        # A node whose IS_CHANGED fails is the same as no other, as in the host.
        text = uuid4().hex
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _ask_is_changed(node: Node, graph: Graph, interface: Interface) -> str:
    """The answer of IS_CHANGED. Nothing has run yet, so linked inputs are None."""
    asked = getattr(interface.cls, "IS_CHANGED", None)
    if asked is None:
        return ""
    linked = interface.links(node)
    values = {one.name: [literal(node.inputs[one.name])] for one in interface.list_given(node)}
    values |= {name: [None] for name in linked}
    values |= {name: [value] for name, value in interface.hidden_values(node, graph).items()}
    # NaN is the host's word for "always changed", and the one number JSON does not have.
    return json.dumps(invoke(asked, values, interface.takes_lists), allow_nan=False)


def _sign_value(value: Any, signed: Mapping[str, str]) -> Any:
    found = link(value)
    return ["link", signed.get(found[0], found[0]), found[1]] if found else ["value", value]
