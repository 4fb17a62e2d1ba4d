"""Execution: progress, and what is said when a node fails."""

import json

import pytest
import torch
from exact_vae.vae_core.errors import BadPixels, VAEError
from support.nodes_to_run import Boom, Fake, Show, Switch, execute, failure, node, with_title


def test_progress_and_start():
    told = []
    graph = {"1": node("Number", n=1), "2": node("Show", value=["1", 0])}
    execute(
        graph,
        progress=lambda done, total, node: told.append((done, total, node.id)),
        on_start=lambda node: told.append(node.id),
    )
    assert told == ["1", (1, 2, "1"), "2", (2, 2, "2")]


def test_progress_counts_what_never_runs_as_done():
    told = []
    graph = {
        "x": node("Number", n=1),
        "y": node("Boom", n=3),
        "switch": node("Switch", first=True, a=["x", 0], b=["y", 0]),
        "show": node("Show", value=["switch", 0]),
    }
    execute(graph, Switch, Boom, progress=lambda done, total, node: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_failing_node_is_named_and_the_cause_kept():
    graph = {
        "1": node("Number", n=1),
        "4": with_title("Bang", node("Boom", n=["1", 0])),
        "5": node("Show", value=["4", 0]),
    }
    error = failure(graph, Boom)
    assert str(error) == "node 4 (Boom, 'Bang'): ValueError: boom"
    assert isinstance(error.__cause__, ValueError)


def test_the_record_of_a_failure():
    graph = {"1": node("Number", n=1), "4": node("Boom", n=["1", 0]), "5": node("Show", value=["4", 0])}
    body = failure(graph, Boom).body
    lines = body.pop("traceback")
    assert body == {
        "node_id": "4",
        "node_type": "Boom",
        "executed": ["1"],
        "exception_message": "boom",
        "exception_type": "ValueError",
        "current_inputs": {"n": ["1"]},
    }
    assert any('raise ValueError("boom")' in line for line in lines)
    json.dumps(lines)


def test_the_record_shows_tensors_by_shape():
    class Image(Fake):
        def go(self):
            return ({"samples": torch.zeros(1, 2)},)

    class Bad(Show):
        def go(self, value):
            raise BadPixels("too dark")

    error = failure({"1": node("Image"), "2": node("Bad", value=["1", 0])}, Image, Bad)
    assert str(error) == "node 2 (Bad): too dark"
    assert error.body["current_inputs"] == {"value": ["{samples: tensor (1, 2) torch.float32}"]}
    assert error.body["exception_type"] == "BadPixels"


def test_a_constructor_that_fails_is_the_nodes_failure():
    class NoInstance(Show):
        def __init__(self):
            raise VAEError("no device")

    assert str(failure({"1": node("NoInstance", value=1)}, NoInstance)) == "node 1 (NoInstance): no device"


def test_an_interruption_passes_untouched():
    class Stop(Show):
        def go(self, value):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute({"1": node("Stop", value=1)}, Stop)
    assert not torch.is_inference_mode_enabled()


def test_a_graph_that_is_not_valid_is_not_run():
    error = failure({"1": node("Number", n="x"), "2": node("Show", value=["1", 0])})
    assert str(error) == "node 1 (Number), input n: 'x' is given; an INT is needed"
    assert error.body["error"]["type"] == "prompt_outputs_failed_validation"
    assert error.body["node_errors"]["1"]["dependent_outputs"] == ["2"]


def test_valid_outputs_run_beside_invalid_ones():
    graph = {"1": node("Show", value=1), "2": node("Show")}
    results = execute(graph)
    assert results.outputs == {"1": {"text": ["1"]}}
    assert list(results.report.node_errors) == ["2"]


def test_a_chain_deeper_than_pythons_stack():
    chain = {str(i): node("Add", a=[str(i - 1), 0], b=1) for i in range(1, 2000)}
    results = execute({"0": node("Number", n=0), **chain, "end": node("Show", value=["1999", 0])})
    assert results.outputs["end"]["text"] == ["1999"]
