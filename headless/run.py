"""Runs a graph without ComfyUI."""

from collections.abc import Callable, Container, Mapping

import torch

from .check import Report, check
from .definitions import Declared
from .execution import Execution, Observer, Progress, Results
from .graph import Graph, GraphError, Node
from .sharing import Cache


def run(
    graph: Graph,
    nodes: Mapping[str, type],
    *,
    keep: Container[str] = (),
    progress: Progress | None = None,
    on_start: Callable[[Node], None] | None = None,
    keep_going: bool = False,
    cache: Cache | None = None,
) -> Results:
    """Validate a graph and run it.

    nodes: class_type -> node class, V1 or V3. keep: ids of nodes whose outputs are wanted in `Results.values`; an
    output stays a list where the node declares one or ran several times. progress: called with (nodes done, nodes in
    all, the node just done). on_start: called with each node before it runs. keep_going: a node that fails stops only
    the outputs that need it, and is told in `Results.errors`. cache: of runs before this one, changed in place.
    Raises GraphError if nothing is valid, or for the node that failed, with the exception as its cause.
    """
    report = check(graph, nodes)
    if report.error:
        raise GraphError(report.sentence(), report.body)
    _demand_code(report, nodes)
    with torch.inference_mode():
        execution = Execution(report, nodes, keep, Observer(progress, on_start), cache)
        for output in report.outputs:
            error = execution.demand(output)
            if error and not keep_going:
                raise error
    return execution.results()


def _demand_code(report: Report, nodes: Mapping[str, type]) -> None:
    """Before anything runs: raise GraphError for a node that needs the ComfyUI which declared it."""
    for node in (report.graph.nodes[node_id] for node_id in report.order):
        if issubclass(nodes[node.class_type], Declared):
            raise GraphError(f"{node}: only its declaration is known here: it can be checked, and not run")
