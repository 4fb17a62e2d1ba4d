"""The next run of a graph: its values change as the editor changes them after each run."""

from dataclasses import replace
from typing import Any

from .graph import Graph, link


def advance(graph: Graph) -> Graph:
    """The same graph with other values, where its file leaves them to randomize, increment or decrement.

    What a link gives stays. A file in the API format does not say how values change, so none does.
    """
    nodes = dict(graph.nodes)
    drawn: dict[tuple[Any, ...], Any] = {}  # values that lie in one place of the file change together
    for (node_id, name), control in graph.controls.items():
        node = nodes.get(node_id)
        if node is None or name not in node.inputs or link(node.inputs[name]):
            continue
        value = node.inputs[name]
        place = (control.whose or (node_id, name), repr(value))
        if place not in drawn:
            drawn[place] = control.change(value)
        nodes[node_id] = replace(node, inputs={**node.inputs, name: drawn[place]})
    return replace(graph, nodes=nodes)
