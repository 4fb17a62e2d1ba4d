"""Finds nodes that are the same computation, so that it runs once, as in the host.

Two nodes are the same if class, inputs and IS_CHANGED answer are equal and their links lead to outputs that are the
same. The second node gets the outputs of the first, and shows what the first shows.
"""

import json
from collections.abc import Mapping
from typing import Any

from .calls import invoke
from .graph import Graph, Node, link, literal
from .interface import Interface


def find_twins(graph: Graph, order: tuple[str, ...], interfaces: Mapping[str, Interface]) -> dict[str, str]:
    """Node id -> id of the node that runs in its place, itself if it is the first of its kind.

    order: ids, each after those it reads. interfaces: class_type -> Interface.
    """
    first: dict[Any, str] = {}
    stands_for: dict[str, str] = {}
    for node_id in order:
        node = graph.nodes[node_id]
        key = _sign_node(node, graph, interfaces[node.class_type], stands_for)
        stands_for[node_id] = first.setdefault(key, node_id)
    return stands_for


def _sign_node(node: Node, graph: Graph, interface: Interface, stands_for: Mapping[str, str]) -> Any:
    if interface.runs_alone:
        return node.id
    try:
        changed = _ask_is_changed(node, graph, interface)
        inputs = [(name, _sign_value(value, stands_for)) for name, value in sorted(node.inputs.items())]
        return node.class_type, changed, json.dumps(inputs, sort_keys=True)
    except Exception:
        # A node whose IS_CHANGED fails is the same as no other, as in the host.
        return node.id


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


def _sign_value(value: Any, stands_for: Mapping[str, str]) -> Any:
    found = link(value)
    return ["link", stands_for.get(found[0], found[0]), found[1]] if found else ["value", value]
