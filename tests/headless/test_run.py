"""Execution: order, lists, lazy inputs, sharing, lifetimes of values, and what is said when a node fails."""

import gc
import json
import weakref

import pytest
import torch
from exact_vae.headless import GraphError, parse, run
from exact_vae.vae_core.errors import BadPixels, VAEError


def node(kind, /, **inputs):
    return {"class_type": kind, "inputs": inputs}


def titled(title, entry):
    return {**entry, "_meta": {"title": title}}


class Fake:
    """A node whose inputs and outputs are class attributes; every call is noted in `calls`, a list per test."""

    required = {}
    optional = {}
    hidden = {}
    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": cls.required, "optional": cls.optional, "hidden": cls.hidden}


class Number(Fake):
    required = {"n": ("INT",)}

    def go(self, n):
        return (n,)


class Add(Fake):
    required = {"a": ("INT",), "b": ("INT",)}

    def go(self, a, b):
        return (a + b,)


class Range(Fake):
    required = {"n": ("INT",)}
    OUTPUT_IS_LIST = (True,)

    def go(self, n):
        return (list(range(n)),)


class Total(Fake):
    required = {"values": ("INT",), "times": ("INT",)}
    INPUT_IS_LIST = True

    def go(self, values, times):
        return (sum(values) * times[0],)


class Show(Fake):
    required = {"value": ("*",)}
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def go(self, value):
        return {"ui": {"text": [str(value)]}}


NODES = {one.__name__: one for one in (Number, Add, Range, Total, Show)}


def execute(graph, *more, **options):
    return run(parse(graph), {**NODES, **{one.__name__: one for one in more}}, **options)


def failure(graph, *more) -> GraphError:
    with pytest.raises(GraphError) as caught:
        execute(graph, *more)
    return caught.value


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

    graph = {"7": titled("T", node("Hidden", n="5"))}
    body = {"prompt": graph, "extra_data": {"extra_pnginfo": {"workflow": {}}}}
    seen = run(parse(body), {"Hidden": Hidden}).outputs["7"]["seen"]
    assert seen == ["7", {"7": titled("T", node("Hidden", n=5))}, {"workflow": {}}, None]


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


def test_expansion_is_refused():
    class Expands(Show):
        def go(self, value):
            return {"result": (), "expand": {}}

    said = str(failure({"1": node("Expands", value=1)}, Expands))
    assert said == ("node 1 (Expands): expands into other nodes while it runs, and only ComfyUI itself can run those")


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


class Boom(Fake):
    required = {"n": ("INT",)}

    def go(self, n):
        raise ValueError("boom")


class Switch(Fake):
    required = {"first": ("BOOLEAN",), "a": ("INT", {"lazy": True}), "b": ("INT", {"lazy": True})}

    def check_lazy_status(self, first, a, b):
        wanted = "a" if first else "b"
        return [wanted] if {"a": a, "b": b}[wanted] is None else []

    def go(self, first, a, b):
        return (a if first else b,)


@pytest.mark.parametrize("first, ran, value", [(True, "x", 1), (False, "y", 2)])
def test_a_lazy_input_that_is_not_asked_for_does_not_run(first, ran, value):
    graph = {
        "x": node("Number", n=1),
        "y": node("Number", n=2),
        "switch": node("Switch", first=first, a=["x", 0], b=["y", 0]),
        "show": node("Show", value=["switch", 0]),
    }
    results = execute(graph, Switch, keep=("x", "y", "switch"))
    assert results.executed == (ran, "switch", "show")
    assert results.values == {ran: (value,), "switch": (value,)}


def test_a_lazy_branch_that_would_fail():
    graph = {
        "x": node("Number", n=1),
        "y": node("Boom", n=["x", 0]),
        "switch": node("Switch", first=True, a=["x", 0], b=["y", 0]),
        "show": node("Show", value=["switch", 0]),
    }
    assert execute(graph, Switch, Boom).outputs["show"]["text"] == ["1"]


def test_a_branch_dropped_by_one_output_still_runs_for_another():
    graph = {
        "x": node("Number", n=1),
        "y": node("Number", n=2),
        "switch": node("Switch", first=True, a=["x", 0], b=["y", 0]),
        "show": node("Show", value=["switch", 0]),
        "late": node("Show", value=["y", 0]),
    }
    assert execute(graph, Switch).outputs == {"show": {"text": ["1"]}, "late": {"text": ["2"]}}


def test_lazy_inputs_are_asked_about_again_until_none_is_missing():
    class Chain(Fake):
        required = {"a": ("INT", {"lazy": True}), "b": ("INT", {"lazy": True})}

        def check_lazy_status(self, a, b):
            if a is None:
                return ["a"]
            return ["b"] if a > 0 else []

        def go(self, a, b):
            return ([a, b],)

    def outcome(first):
        numbers = {"x": node("Number", n=first), "y": node("Number", n=7)}
        chain = {"c": node("Chain", a=["x", 0], b=["y", 0]), "1": node("Show", value=["c", 0])}
        return execute({**numbers, **chain}, Chain, keep=("c",)).values["c"]

    assert outcome(1) == ([1, 7],)
    assert outcome(0) == ([0, None],)


def two_of(kind):
    graph = {"1": node(kind, n=1), "2": node(kind, n=1), "3": node("Add", a=["1", 0], b=["2", 0])}
    return {**graph, "4": node("Show", value=["3", 0])}


def test_identical_nodes_share_one_run():
    results = execute(two_of("Number"), keep=("1", "2"))
    assert results.executed == ("1", "3", "4")
    assert results.values == {"1": (1,), "2": (1,)}


def test_sharing_reaches_down_the_graph_and_shows_the_same():
    graph = {
        "1": node("Number", n=1),
        "2": titled("another title", node("Number", n=1)),
        "3": node("Show", value=["1", 0]),
        "4": node("Show", value=["2", 0]),
    }
    results = execute(graph)
    assert results.executed == ("1", "3")
    assert results.outputs == {"3": {"text": ["1"]}, "4": {"text": ["1"]}}


def test_other_values_are_not_shared():
    graph = {**two_of("Number"), "2": node("Number", n=2)}
    assert execute(graph).executed == ("1", "2", "3", "4")


class Mine(Number):
    hidden = {"me": "UNIQUE_ID"}

    def go(self, n, me):
        return (n,)


class Dice(Number):
    NOT_IDEMPOTENT = True


class Always(Number):
    @classmethod
    def IS_CHANGED(cls, n):
        return float("nan")


class Failing(Number):
    @classmethod
    def IS_CHANGED(cls, n):
        raise OSError


class Same(Number):
    @classmethod
    def IS_CHANGED(cls, n):
        return f"hash of {n}"


@pytest.mark.parametrize("kind, runs", [(Mine, 2), (Dice, 2), (Always, 2), (Failing, 2), (Same, 1)])
def test_who_shares(kind, runs):
    executed = execute(two_of(kind.__name__), kind).executed
    assert len(executed) == 2 + runs


def test_is_changed_sees_literals_only():
    seen = []

    class Watched(Add):
        @classmethod
        def IS_CHANGED(cls, a, b):
            seen.append((a, b))
            return ""

    graph = {"1": node("Number", n=1), "2": node("Watched", a=["1", 0], b=7), "3": node("Show", value=["2", 0])}
    execute(graph, Watched)
    assert seen == [(None, 7)]


def test_a_value_is_dropped_when_its_last_reader_has_read_it():
    alive = []

    class Big(Fake):
        required = {"n": ("INT",)}

        def go(self, n):
            gc.collect()
            peak.append(sum(reference() is not None for reference in alive))
            value = torch.zeros(4)
            alive.append(weakref.ref(value))
            return (value,)

    class Next(Big):
        required = {"n": ("*",)}

    peak = []
    chain = {str(i): node("Next", n=[str(i - 1), 0]) for i in range(1, 8)}
    graph = {"0": node("Big", n=0), **chain, "end": node("Show", value=["7", 0])}
    execute(graph, Big, Next)
    # When a node runs, what it reads is alive, and nothing before that.
    assert peak == [0] + [1] * 7


def test_what_an_output_node_returns_is_dropped_if_nobody_reads_it():
    made = []

    class Both(Fake):
        required = {"n": ("INT",)}
        OUTPUT_NODE = True

        def go(self, n):
            gc.collect()
            alive = [reference() is not None for reference in made]
            value = torch.zeros(n)
            made.append(weakref.ref(value))
            return {"ui": {"alive": alive}, "result": (value,)}

    results = execute({"1": node("Both", n=1), "2": node("Both", n=2)}, Both)
    assert results.outputs["2"]["alive"] == [False]


def test_a_kept_value_outlives_its_readers():
    graph = {"1": node("Number", n=5), "2": node("Add", a=["1", 0], b=1), "3": node("Show", value=["2", 0])}
    assert execute(graph, keep={"1"}).values == {"1": (5,)}


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
    graph = {"1": node("Number", n=1), "4": titled("Bang", node("Boom", n=["1", 0])), "5": node("Show", value=["4", 0])}
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
    assert error.body["exception_type"].endswith("errors.BadPixels")


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
