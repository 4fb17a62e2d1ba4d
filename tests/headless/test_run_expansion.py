"""Execution: nodes that expand into other nodes while they run."""

import gc
import weakref

import pytest
import torch
from exact_vae.headless import Cache, ExecutionBlocker
from exact_vae.headless import growing as growing_module
from support.nodes_to_run import Boom, Fake, Number, Switch, execute, failure, node


class Twice(Fake):
    """n + n, by an inner node."""

    required = {"n": ("INT",)}

    def go(self, n):
        return {"expand": {"sum": node("Add", a=n, b=n)}, "result": (["sum", 0],)}


class Countdown(Fake):
    """n + ... + 1, each step by a node like it."""

    required = {"n": ("INT",), "total": ("INT",)}

    def go(self, n, total):
        if n == 0:
            return (total,)
        inner = {"add": node("Add", a=total, b=n), "next": node("Countdown", n=n - 1, total=["add", 0])}
        return {"expand": inner, "result": (["next", 0],)}


def grown(kind, graph, *more, **options):
    """What node 9 shows, which reads node `x` of this kind."""
    results = execute({**graph, "9": node("Show", value=["x", 0])}, kind, *more, **options)
    return results.outputs["9"]["text"], results


def test_an_output_of_an_inner_node():
    shown, results = grown(Twice, {"x": node("Twice", n=21)}, keep=("x",))
    assert shown == ["42"] and results.values == {"x": (42,)}
    assert results.executed == ("sum", "x", "9")


def test_an_inner_node_reads_a_node_outside():
    class Next(Fake):
        required = {"n": ("INT",)}

        def go(self, n):
            return {"expand": {"sum": node("Add", a=["one", 0], b=n)}, "result": (["sum", 0], "plain")}

    Next.RETURN_TYPES = ("INT", "STRING")
    graph = {"one": node("Number", n=1), "x": node("Next", n=["one", 0])}
    shown, results = grown(Next, graph, keep=("x",))
    assert shown == ["2"] and results.values["x"] == (2, "plain")


def test_expansion_within_expansion_is_deeper_than_pythons_stack():
    shown, results = grown(Countdown, {"x": node("Countdown", n=1500, total=0)})
    assert shown == [str(1500 * 1501 // 2)] and len(results.executed) == 3 * 1500 - 1500 + 2


def test_some_items_of_a_list_expand_and_others_do_not():
    class Even(Twice):
        def go(self, n):
            return super().go(n) if n % 2 == 0 else (n,)

    shown, results = grown(Even, {"0": node("Range", n=5), "x": node("Even", n=["0", 0])})
    assert shown == ["0", "1", "4", "3", "8"]
    assert len(set(results.executed)) == len(results.executed) == 6


def test_lists_of_inner_nodes():
    class Many(Fake):
        required = {"n": ("INT",)}
        RETURN_TYPES = ("INT", "INT")
        OUTPUT_IS_LIST = (True, False)

        def go(self, n):
            return {"expand": {"r": node("Range", n=n)}, "result": (["r", 0], 7)}

    shown, results = grown(Many, {"0": node("Range", n=3), "x": node("Many", n=["0", 0])}, keep=("x",))
    assert shown == ["0", "0", "1"] and results.values["x"] == ([0, 0, 1], [7, 7, 7])


def test_two_nodes_may_name_theirs_alike():
    graph = {"x": node("Twice", n=1), "y": node("Twice", n=2), "8": node("Show", value=["y", 0])}
    shown, results = grown(Twice, graph)
    assert shown == ["2"] and results.outputs["8"]["text"] == ["4"]
    assert set(results.executed) == {"sum", "x.0.sum", "x", "y", "8", "9"}


def test_inner_outputs_run_and_show():
    class Shows(Fake):
        def go(self):
            return {"expand": {"s": node("Show", value=5), "not": node("Boom", n=1)}, "result": (1,), "ui": {"a": [0]}}

    shown, results = grown(Shows, {"x": node("Shows")}, Boom)
    assert shown == ["1"] and results.outputs["s"] == {"text": ["5"]} and results.outputs["x"] == {"a": [0]}


def test_any_value_is_an_inner_input():
    class Tensors(Fake):
        def go(self):
            inner = {"s": node("Total", values=torch.ones(3), times=2)}
            return {"expand": inner, "result": (["s", 0],)}

    class Total(Fake):
        required = {"values": ("*",), "times": ("INT",)}

        def go(self, values, times):
            return (float(values.sum()) * times,)

    assert grown(Tensors, {"x": node("Tensors")}, Total)[0] == ["6.0"]


def test_a_lazy_inner_input_that_is_not_asked_for_does_not_run():
    class Chooses(Fake):
        def go(self):
            inner = {"n": node("Number", n=3), "b": node("Boom", n=0),
                     "s": node("Switch", first=True, a=["n", 0], b=["b", 0])}  # fmt: skip
            return {"expand": inner, "result": (["s", 0],)}

    assert grown(Chooses, {"x": node("Chooses")}, Switch, Boom)[0] == ["3"]


def test_a_blocker_beside_an_expansion():
    class Stops(Fake):
        def go(self):
            return {"expand": {"n": node("Number", n=3)}, "result": ExecutionBlocker("not now")}

    results = execute({"x": node("Stops"), "9": node("Show", value=["x", 0])}, Stops)
    assert results.blocked == {"9": ("not now",)} and results.outputs == {}


def test_inner_nodes_that_are_the_same_run_once():
    graph = {"a": node("Add", a=2, b=2), "x": node("Twice", n=2), "9": node("Show", value=["x", 0])}
    results = execute({**graph, "8": node("Show", value=["a", 0])}, Twice)
    assert results.executed.count("a") == 1 and "sum" not in results.executed
    assert results.outputs["9"]["text"] == ["4"]


def test_a_value_that_is_needed_again_is_made_again():
    """Its reader had it, and it was dropped; that a later node would expand into another reader nobody could know."""

    class Again(Fake):
        required = {"n": ("INT",)}

        def go(self, n):
            return {"expand": {"sum": node("Add", a=["one", 0], b=n)}, "result": (["sum", 0],)}

    graph = {"one": node("Number", n=1), "two": node("Add", a=["one", 0], b=1), "x": node("Again", n=["two", 0])}
    shown, results = grown(Again, graph)
    assert shown == ["3"] and results.executed == ("one", "two", "one", "sum", "x", "9")


class LoopOpen(Fake):
    required = {"n": ("INT",)}
    RETURN_TYPES = ("FLOW", "INT")

    def go(self, n):
        return "flow", n


class LoopClose(Fake):
    """Runs what lies between the two nodes again, until the number is 0. As packs write loops."""

    required = {"flow": ("FLOW", {"rawLink": True}), "n": ("INT",)}
    hidden = {"graph": "DYNPROMPT", "me": "UNIQUE_ID"}

    def go(self, flow, n, graph, me):
        if n <= 0:
            return (n,)
        opened = flow[0]
        inside, waiting = {me}, [me]
        while waiting:
            for value in graph.get_node(waiting.pop())["inputs"].values():
                if isinstance(value, list) and value[0] not in inside and value[0] != opened:
                    inside.add(value[0])
                    waiting.append(value[0])
        inside = {one for one in inside if one == me or self.reads(graph, one, opened)} | {opened}
        body = {one: self.copy(graph.get_node(one), inside, f"{me}/") for one in inside}
        made = {f"{me}/{one}": entry for one, entry in body.items()}
        made[f"{me}/{opened}"]["inputs"]["n"] = n
        return {"expand": made, "result": ([f"{me}/{me}", 0],)}

    def reads(self, graph, one, opened):
        links = [value[0] for value in graph.get_node(one)["inputs"].values() if isinstance(value, list)]
        return opened in links or any(self.reads(graph, source, opened) for source in links)

    def copy(self, entry, inside, prefix):
        inputs = {
            name: [prefix + value[0], value[1]] if isinstance(value, list) and value[0] in inside else value
            for name, value in entry["inputs"].items()
        }
        return {"class_type": entry["class_type"], "inputs": inputs}


def test_a_loop_goes_around_and_what_is_outside_runs_once():
    graph = {
        "step": node("Number", n=-2),
        "open": node("LoopOpen", n=7),
        "less": node("Add", a=["open", 1], b=["step", 0]),
        "x": node("LoopClose", flow=["open", 0], n=["less", 0]),
    }
    shown, results = grown(LoopClose, graph, LoopOpen)
    assert shown == ["-1"] and results.executed.count("step") == 1
    assert sum(one.endswith("less") for one in results.executed) == 4
    assert results.errors == ()


def test_values_of_a_loop_are_dropped():
    alive = []

    class Big(Fake):
        required = {"n": ("INT",)}

        def go(self, n):
            gc.collect()
            most.append(sum(reference() is not None for reference in alive))
            value = torch.tensor(n - 1)
            alive.append(weakref.ref(value))
            return (value,)

    class Again(Fake):
        required = {"n": ("INT",)}

        def go(self, n):
            if n <= 0:
                return (n,)
            return {"expand": {"b": node("Big", n=int(n)), "a": node("Again", n=["b", 0])}, "result": (["a", 0],)}

    most = []
    grown(Again, {"x": node("Again", n=4)}, Big)
    assert len(most) == 4 and max(most) <= 1


def test_what_did_not_change_does_not_expand_again():
    cache, graph = Cache(), {"0": node("Number", n=5), "x": node("Twice", n=["0", 0])}
    first = grown(Twice, graph, cache=cache)[1]
    again = grown(Twice, graph, cache=cache)
    assert first.executed == ("0", "sum", "x", "9") and again[0] == ["10"] and again[1].executed == ()
    # The graph outside changed, and the inner node is the same.
    other = {"x": node("Twice", n=5)}
    assert grown(Twice, other, cache=cache)[1].executed in (("x", "9"), ("sum", "x", "9"))


def test_inner_nodes_that_did_not_change_do_not_run_again():
    class Noted(Twice):
        required = {"n": ("INT",), "note": ("STRING",)}

        def go(self, n, note):
            return super().go(n)

    cache = Cache()
    runs = [grown(Noted, {"x": node("Noted", n=5, note=note)}, cache=cache)[1].executed for note in "abb"]
    assert runs == [("sum", "x", "9"), ("x", "9"), ()]


class Bad(Fake):
    required = {"how": ("STRING",)}
    GRAPHS = {
        "unknown": ({"a": node("Addd", a=1, b=1)}, ["a", 0]),
        "no link": ({"a": node("Add", a=["b", 0], b=1)}, ["a", 0]),
        "no result": ({"a": node("Add", a=1, b=1)}, ["b", 0]),
        "no class": ({"a": {"inputs": {}}}, ["a", 0]),
        "circle": ({"a": node("Add", a=["b", 0], b=1), "b": node("Add", a=["a", 0], b=1)}, ["a", 0]),
        "waits": ({"a": node("Add", a=["9", 0], b=1)}, ["a", 0]),
        "itself": ({"a": node("Bad", how="itself")}, ["a", 0]),
        "fails": ({"a": node("Boom", n=1)}, ["a", 0]),
        "missing": ({"a": node("Add", a=1)}, ["a", 0]),
        "no graph": ([node("Number", n=1)], 1),
    }

    def go(self, how):
        made, result = self.GRAPHS[how]
        return {"expand": made, "result": (result,)}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("unknown", "node x (Bad): expands into a node of class 'Addd', which is not known here; nearest is 'Add'"),
        ("no link", "node x (Bad): expands into node a (Add), which reads node b, and there is none"),
        ("no result", "node x (Bad): expands into nodes, and returns an output of node b, which is none of them"),
        ("no class", "node x (Bad): expands into a node a that does not say its class"),
        ("circle", "node x (Bad): expands into nodes that wait for it or for one another, without an end: a -> b -> a"),
        ("waits", "node x (Bad): expands into nodes that wait for it or for one another, without an end: x -> a -> 9"),
        ("itself", "node x (Bad): expands into nodes that wait for it or for one another, without an end: x -> x"),
        ("fails", "node x (Bad), in node a (Boom): ValueError: boom"),
        ("missing", "node x (Bad), in node a (Add): TypeError: "),
        ("no graph", "node x (Bad): expands into a list; a graph is a dict of nodes by their ids"),
    ],
)
def test_what_goes_wrong_is_the_node_s_that_expanded(how, said):
    graph = {"x": node("Bad", how=how), "9": node("Add", a=["x", 0], b=1), "8": node("Show", value=["9", 0])}
    error = failure(graph, Bad, Boom)
    assert str(error).startswith(said) and error.body["node_id"] == "x" and error.body["node_type"] == "Bad"


def test_a_failure_inside_loses_nothing_of_others():
    graph = {"x": node("Bad", how="fails"), "9": node("Show", value=["x", 0]), "y": node("Twice", n=1)}
    results = execute({**graph, "8": node("Show", value=["y", 0])}, Bad, Boom, Twice, keep_going=True)
    assert results.outputs == {"8": {"text": ["2"]}} and len(results.errors) == 1


def test_a_run_that_never_ends_is_stopped(monkeypatch):
    class Forever(Number):
        def go(self, n):
            return {"expand": {"next": node("Forever", n=n + 1)}, "result": (["next", 0],)}

    monkeypatch.setattr(growing_module, "MOST_EXPANDED", 50)
    graph = {"x": node("Forever", n=0), "9": node("Show", value=["x", 0])}
    assert str(failure(graph, Forever)).endswith("expands without an end: a run has 50 nodes at most")


def test_only_what_is_asked_for_by_the_result_runs():
    class Spare(Fake):
        def go(self):
            return {"expand": {"a": node("Number", n=1), "b": node("Boom", n=1)}, "result": (["a", 0],)}

    assert grown(Spare, {"x": node("Spare")}, Boom)[0] == ["1"]
