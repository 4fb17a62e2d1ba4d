"""The next run of a graph: seeds change as the editor changes them after each run."""

import random
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from .graph import Graph, link

LARGEST_SEED = 2**64 - 1
LARGEST_DRAWN = 2**50  # what the editor draws is exact as a number of JavaScript

STEPS: Mapping[str, int] = MappingProxyType({"increment": 1, "decrement": -1})


def advance(graph: Graph) -> Graph:
    """The same graph with other seeds, where its file leaves them to randomize, increment or decrement.

    A seed that a link gives stays. A file in the API format does not say how seeds change, so none does.
    """
    nodes = dict(graph.nodes)
    for (node_id, name), how in graph.controls.items():
        node = nodes.get(node_id)
        value = node.inputs.get(name) if node else None
        if node and not link(value) and isinstance(value, int):
            nodes[node_id] = replace(node, inputs={**node.inputs, name: _step(value, how)})
    return replace(graph, nodes=nodes)


def _step(value: int, how: str) -> int:
    if how == "randomize":
        return random.randrange(LARGEST_DRAWN)
    return min(max(value + STEPS.get(how, 0), 0), LARGEST_SEED)
