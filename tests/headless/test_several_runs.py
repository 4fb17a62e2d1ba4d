"""Execution beyond one graph that goes well: branches that fail or are blocked, and runs one after another."""

import pytest
from exact_vae.headless import Cache, ExecutionBlocker, Graph, GraphError, advance, check, parse, run
from exact_vae.headless.controls import read_control
from exact_vae.headless.inputs import Input
from support.nodes_to_run import Boom, Fake, Number, Range, Show, execute, node

TWO = {
    "x": node("Number", n=1),
    "y": node("Boom", n=["x", 0]),
    "bad": node("Show", value=["y", 0]),
    "worse": node("Show", value=["bad_too", 0]),
    "bad_too": node("Add", a=["y", 0], b=["x", 0]),
    "good": node("Show", value=["x", 0]),
}


def test_a_branch_that_fails_loses_nothing_of_the_others():
    results = execute(TWO, Boom, keep_going=True)
    assert results.outputs == {"good": {"text": ["1"]}} and results.executed == ("x", "good")
    (error,) = results.errors
    assert str(error).startswith("node y (Boom)") and error.body["node_id"] == "y"
    with pytest.raises(GraphError, match="node y"):
        execute(TWO, Boom)


class Gate(Fake):
    required = {"n": ("INT",), "message": ("STRING",)}

    def go(self, n, message):
        return (n if n < 2 else ExecutionBlocker(message or None),)


class Closed(Gate):
    RETURN_TYPES = ("INT", "INT")

    def go(self, n, message):
        return ExecutionBlocker(message)


def test_what_reads_a_blocker_does_not_run():
    graph = {
        "x": node("Number", n=5),
        "gate": node("Gate", n=["x", 0], message="closed today"),
        "sum": node("Add", a=["gate", 0], b=["x", 0]),
        "show": node("Show", value=["sum", 0]),
        "free": node("Show", value=["x", 0]),
    }
    results = execute(graph, Gate)
    assert results.outputs == {"free": {"text": ["5"]}} and not results.errors
    assert results.blocked == {"sum": ("closed today",)}  # told once, where it is read first
    graph["gate"]["inputs"]["message"] = ""
    assert execute(graph, Gate).blocked == {}


def test_a_blocker_stops_one_item_of_a_list_and_one_in_place_of_all_outputs():
    graph = {
        "x": node("Range", n=4),
        "gate": node("Gate", n=["x", 0], message=""),
        "show": node("Show", value=["gate", 0]),
    }
    assert execute(graph, Gate).outputs == {"show": {"text": ["0", "1"]}}
    both = {"x": node("Closed", n=1, message="no"), "a": node("Show", value=["x", 1])}
    assert execute(both, Closed).blocked == {"a": ("no",)}


def test_a_run_after_another_does_only_what_changed():
    cache, nodes = Cache(), {"Number": Number, "Show": Show, "Range": Range}
    graph = parse({"x": node("Number", n=1), "y": node("Number", n=2), "1": node("Show", value=["x", 0]),
                   "2": node("Show", value=["y", 0])})  # fmt: skip
    assert run(graph, nodes, cache=cache).executed == ("x", "1", "y", "2")
    changed = run(graph.put("y.n", 3), nodes, cache=cache)
    assert changed.executed == ("y", "2")
    assert changed.outputs == {"1": {"text": ["1"]}, "2": {"text": ["3"]}}  # shown again, as in the host
    assert run(graph, nodes, cache=cache, keep=("x",)).values == {"x": (1,)}
    assert len(cache.entries) == 4  # what the last run did not use is gone


class Counter(Fake):
    """Keeps how often it ran, as nodes of packs do."""

    required = {"n": ("INT",)}

    def __init__(self):
        self.times = 0

    @classmethod
    def IS_CHANGED(cls, n):
        return float("nan")

    def go(self, n):
        self.times += 1
        return (self.times,)


class Counts(Fake):
    """Expands into a counter."""

    required = {"n": ("INT",)}
    IS_CHANGED = Counter.IS_CHANGED

    def go(self, n):
        return {"result": (["inner", 0],), "expand": {"inner": node("Counter", n=n)}}


@pytest.mark.parametrize("kind", ["Counter", "Counts"])
def test_a_node_that_stays_in_the_graph_keeps_its_object(kind):
    cache, nodes = Cache(), {"Counter": Counter, "Counts": Counts, "Show": Show, "Number": Number}
    graph, other = (parse({"x": node(one, n=1), "1": node("Show", value=["x", 0])}) for one in (kind, "Number"))
    shown = [run(one, nodes, cache=cache).outputs["1"]["text"] for one in (graph, graph.put("x.n", 2), other, graph)]
    assert shown == [["1"], ["2"], ["1"], ["1"]]
    assert run(graph, nodes).outputs["1"]["text"] == ["1"]  # of runs without a cache each is the first


def test_a_graph_is_built():
    graph = Graph()
    one = graph.add("Number", n=1)
    two = graph.add("Number", {"n": 2}, id="two", title="Two")
    total = graph.add("Add", a=one, b=two[0])
    graph.add("Show", value=[total.id, 0])  # a list is a value
    assert graph.to_json() == {
        "1": node("Number", n=1),
        "two": {**node("Number", n=2), "_meta": {"title": "Two"}},
        "3": node("Add", a=["1", 0], b=["two", 0]),
        "4": node("Show", value={"__value__": ["3", 0]}),
    }
    with pytest.raises(GraphError, match="there is a node 'two' in this graph already"):
        graph.add("Number", id="two")


def test_seeds_of_a_next_run():
    control = read_control(Input("seed", "INT", {}, True), "increment")
    assert control
    graph = Graph(controls={("1", "seed"): control, ("2", "seed"): control, ("9", "seed"): control})
    graph.add("Sample", seed=graph.add("Sample", seed=7))
    assert advance(graph).nodes["1"].inputs["seed"] == 8 and advance(graph).nodes["2"].inputs["seed"] == ["1", 0]


def test_dynamic_inputs_are_checked():
    """A dynamic combo's own inputs, and the rows of an autogrow."""

    class Resize(Fake):
        required = {
            "how": ("COMFY_DYNAMICCOMBO_V3", {"options": [
                {"key": "size", "inputs": {"required": {"width": ["INT", {"min": 1}]}}},
                {"key": "none", "inputs": {}}]}),
            "images": ("COMFY_AUTOGROW_V3", {"template": {
                "input": {"required": {"image": ["INT", {}]}}, "prefix": "image", "min": 1, "max": 3}}),
            "any": ("COMFY_MATCHTYPE_V3", {"template": {"template_id": "t", "allowed_types": "IMAGE,MASK"}}),
        }  # fmt: skip
        OUTPUT_NODE = True

    def problems(**inputs):
        graph = parse({"1": node("Number", n=1), "2": node("Resize", **inputs)})
        errors = check(graph, {"Number": Number, "Resize": Resize}).node_errors
        return {(one["type"], one["details"]) for entry in errors.values() for one in entry["errors"]}

    whole = {"how": "size", "how.width": 4, "images.image0": ["1", 0], "any": ["1", 0]}
    assert problems(**whole) == set()
    assert problems(**{**whole, "how": "none"}) == set()
    missing = {"required_input_missing"}
    assert problems(how="size", any=["1", 0]) == {(m, d) for m in missing for d in ("width", "image0")}
    assert problems(**{**whole, "how.width": 0}) == {("value_smaller_than_min", "how.width")}
