"""Execution: order, lists, what nodes are given and may return."""

import gc
import weakref

import torch
from exact_vae.headless import parse, run
from support.nodes_to_run import Fake, Show, execute, failure, node, with_title


def test_values_flow_along_links():
    graph = {
        "sum": node("Add", a=["x", 0], b=40),
        "show": node("Show", value=["sum", 0]),
        "x": node("Number", n="2"),
    }
    results = execute(graph, keep=("sum",))
    assert results.outputs == {"show": {"text": ["42"]}}
    assert results.values == {"sum": (42,)}
    assert results.executed == ("x", "sum", "show")


def test_only_what_an_output_needs_runs():
    graph = {"1": node("Number", n=1), "2": node("Number", n=2), "3": node("Show", value=["1", 0])}
    results = execute(graph, keep=("1", "2"))
    assert results.executed == ("1", "3")
    assert results.values == {"1": (1,)}


def test_shorter_lists_repeat_their_last_item():
    graph = {
        "long": node("Range", n=4),
        "short": node("Range", n=2),
        "sum": node("Add", a=["long", 0], b=["short", 0]),
        "show": node("Show", value=["sum", 0]),
    }
    results = execute(graph, keep=("sum", "long"))
    assert results.values["long"] == ([0, 1, 2, 3],)
    assert results.values["sum"] == ([0 + 0, 1 + 1, 2 + 1, 3 + 1],)
    assert results.outputs["show"]["text"] == ["0", "2", "3", "4"]


def test_a_list_of_one_stays_a_list_where_the_node_declares_one():
    graph = {"1": node("Range", n=1), "2": node("Show", value=["1", 0])}
    assert execute(graph, keep=("1",)).values["1"] == ([0],)


def test_a_node_that_takes_lists_is_called_once_with_all():
    graph = {
        "1": node("Range", n=4),
        "2": node("Total", values=["1", 0], times=5),
        "3": node("Show", value=["2", 0]),
    }
    assert execute(graph).outputs["3"]["text"] == ["30"]


def test_lists_of_several_calls_are_joined():
    graph = {
        "1": node("Range", n=4),
        "2": node("Range", n=["1", 0]),
        "3": node("Total", values=["2", 0], times=1),
        "4": node("Show", value=["3", 0]),
    }
    assert execute(graph, keep=("2",)).values["2"] == ([0, 0, 1, 0, 1, 2],)


def test_an_empty_list_is_refused():
    graph = {"1": node("Range", n=0), "2": node("Show", value=["1", 0])}
    assert str(failure(graph)) == ("node 2 (Show): input value received an empty list, so there is nothing to run on")


def test_a_wrapped_list_arrives_as_a_list_even_if_it_looks_like_a_link():
    graph = {"1": node("Show", value={"__value__": ["1", 0]})}
    assert execute(graph).outputs["1"]["text"] == ["['1', 0]"]


def test_absent_optional_inputs_are_not_passed():
    class Optional(Show):
        required = {}
        optional = {"value": ("INT",)}

        def go(self, value="default"):
            return super().go(value)

    results = execute({"1": node("Optional"), "2": node("Optional", value=3)}, Optional)
    assert [results.outputs[i]["text"] for i in ("1", "2")] == [["default"], ["3"]]


def test_undeclared_inputs_are_not_passed():
    assert execute({"1": node("Show", value=1, other=2)}).outputs["1"]["text"] == ["1"]


def test_hidden_inputs():
    class Hidden(Show):
        required = {"n": ("INT",)}
        hidden = {"me": "UNIQUE_ID", "graph": "PROMPT", "png": "EXTRA_PNGINFO", "other": "DYNPROMPT"}

        def go(self, n, me, graph, png, other):
            return {"ui": {"seen": [me, graph, png, other]}}

    graph = {"7": with_title("T", node("Hidden", n="5"))}
    body = {"prompt": graph, "extra_data": {"extra_pnginfo": {"workflow": {}}}}
    *seen, growing = run(parse(body), {"Hidden": Hidden}).outputs["7"]["seen"]
    assert seen == ["7", {"7": with_title("T", node("Hidden", n=5))}, {"workflow": {}}]
    assert growing.get_node("7") == node("Hidden", n=5) and growing.get_original_prompt() == seen[1]


def test_ui_and_result_together_and_ui_merged_over_calls():
    class Both(Fake):
        required = {"n": ("INT",)}
        OUTPUT_NODE = True

        def go(self, n):
            return {"ui": {"text": [f"n={n}"]}, "result": (n * 10,)}

    graph = {"1": node("Range", n=3), "2": node("Both", n=["1", 0])}
    results = execute(graph, Both, keep=("2",))
    assert results.outputs == {"2": {"text": ["n=0", "n=1", "n=2"]}}
    assert results.values["2"] == ([0, 10, 20],)


def test_ui_that_is_no_list_is_refused():
    class Letters(Show):
        def go(self, value):
            return {"ui": {"text": "abc"}}

    said = str(failure({"1": node("Letters", value=1)}, Letters))
    assert said == "node 1 (Letters): shows 'text' as a str; what a node shows are lists"


def test_reading_an_output_that_was_not_returned():
    class OnlyUi(Fake):
        def go(self):
            return {"ui": {}}

    said = str(failure({"1": node("OnlyUi"), "2": node("Show", value=["1", 0])}, OnlyUi))
    assert said == "node 2 (Show): it reads output 0 of node 1 (OnlyUi), which returned only 0"


def test_a_forgotten_comma_is_named():
    class Bare(Fake):
        def go(self):
            return torch.zeros(2, 4)

    said = str(failure({"1": node("Bare"), "2": node("Show", value=["1", 0])}, Bare))
    assert said == ("node 1 (Bare): returned a Tensor instead of a tuple of outputs: a comma is missing after it")


def test_async_nodes_run_in_inference_mode_as_others_do():
    class Later(Fake):
        async def go(self):
            return (torch.ones(1),)

    graph = {"1": node("Later"), "2": node("Show", value=["1", 0])}
    (value,) = execute(graph, Later, keep=("1",)).values["1"]
    assert value.is_inference()
    assert not torch.is_inference_mode_enabled()


def test_one_instance_for_all_calls_of_a_node():
    class Counter(Fake):
        required = {"n": ("INT",)}

        def __init__(self):
            self.count = 0

        def go(self, n):
            self.count += 1
            return (self.count,)

    graph = {
        "0": node("Range", n=3),
        "1": node("Counter", n=["0", 0]),
        "2": node("Counter", n=9),
        "3": node("Show", value=["1", 0]),
        "4": node("Show", value=["2", 0]),
    }
    values = execute(graph, Counter, keep=("1", "2")).values
    assert values == {"1": ([1, 2, 3],), "2": (1,)}


def test_an_instance_is_dropped_after_its_last_call():
    made = []

    class Holder(Fake):
        def __init__(self):
            made.append(weakref.ref(self))

        def go(self):
            return (1,)

    class Look(Show):
        def go(self, value):
            gc.collect()
            return {"ui": {"alive": [made[0]() is not None]}}

    assert execute({"1": node("Holder"), "2": node("Look", value=["1", 0])}, Holder, Look).outputs == {
        "2": {"alive": [False]}
    }
