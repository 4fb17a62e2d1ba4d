"""Execution: what need not run does not, what is the same runs once, and values go when nobody reads them."""

import gc
import weakref

import pytest
import torch
from exact_vae.headless import Cache
from support.nodes_to_run import Add, Boom, Fake, Number, Switch, execute, node, with_title


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
        "2": with_title("another title", node("Number", n=1)),
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


class Waits(Number):
    @classmethod
    async def IS_CHANGED(cls, n):
        return "same"

    async def go(self, n):
        return (n,)


SHARING = [(Mine, 2), (Dice, 2), (Always, 2), (Failing, 2), (Same, 1), (Waits, 1)]


@pytest.mark.parametrize("kind, runs", SHARING)
def test_who_shares(kind, runs):
    executed = execute(two_of(kind.__name__), kind).executed
    assert len(executed) == 2 + runs


@pytest.mark.parametrize("kind, runs", SHARING)
def test_who_runs_again_in_a_next_run(kind, runs):
    """Who says so, or nobody knows; a node that is told its number is the same in the next run."""
    cache, graph = Cache(), {"1": node(kind.__name__, n=1), "2": node("Show", value=["1", 0])}
    first, second = (execute(graph, kind, cache=cache).executed for _ in range(2))
    again = runs == 2 and kind not in (Mine, Dice)
    assert first == ("1", "2") and second == (first if again else ())


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
