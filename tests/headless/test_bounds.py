"""Small workflows that would take years, or all memory, are read in the time of their size or refused in a sentence."""

import json
import os
import sys
import tracemalloc
from collections.abc import Callable

import pytest
from exact_vae import headless
from exact_vae.headless import limits
from exact_vae.headless.check import walk_upstream
from exact_vae.headless.editor import _Reader, from_editor


class Source:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": {"image": ("IMAGE",)}}

    def go(self, image=None):
        return ((image or 0) + 1,)


class Sink(Source):
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {**super().INPUT_TYPES(), "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}}

    def go(self, image=None, prompt=None, extra_pnginfo=None):
        return super().go(image)


NODES = {"Source": Source, "Sink": Sink}


def node(number, kind, reads=None, gives=()):
    inputs = [{"name": "image", "type": "IMAGE", "link": reads}]
    return {"id": number, "type": kind, "inputs": inputs, "outputs": [{"name": "o", "type": "IMAGE", "links": gives}]}


def nest(depth: int, count: int) -> dict:
    """`count` uses of a subgraph of as many uses of the next, and so on; at the bottom are nodes."""
    kinds = [f"s{n}" for n in range(depth)] + ["Source"]
    graphs = [
        {"id": kinds[n], "name": kinds[n], "nodes": [node(i, kinds[n + 1]) for i in range(count)], "links": []}
        for n in range(depth)
    ]
    return {"nodes": [node(1, kinds[0])], "links": [], "definitions": {"subgraphs": graphs}}


def chain(n: int, kind: str = "Sink") -> dict:
    return {str(i): {"class_type": kind, "inputs": {"image": [str(i - 1), 0]} if i else {}} for i in range(n)}


def refused(call: Callable, *arguments) -> str:
    with pytest.raises(headless.GraphError) as found:
        call(*arguments)
    return str(found.value)


def test_subgraphs_that_multiply():
    """Nine of ten in one another are a billion nodes, in a file of some kilobytes."""
    assert len(from_editor(nest(3, 10), NODES).nodes) == 1000
    assert f"it has more than {limits.MOST_NODES} nodes" in refused(from_editor, nest(9, 10), NODES)


def test_subgraphs_that_lie_deep():
    assert len(from_editor(nest(limits.DEEPEST, 1), NODES).nodes) == 1
    assert f"its subgraphs lie more than {limits.DEEPEST} deep" in refused(from_editor, nest(3000, 1), NODES)


def count_calls(monkeypatch, owner, name: str) -> list:
    calls: list = []
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *a, **k: calls.append(1) or real(*a, **k))
    return calls


def test_a_chain_of_reroutes_is_followed_once(monkeypatch):
    n = 300
    steps = count_calls(monkeypatch, _Reader, "step_back")
    reroutes = [node(i, "Reroute", reads=i, gives=[i + 1]) for i in range(1, n)]
    sinks = [node(n + i, "Sink", reads=i) for i in range(1, n)]
    links = [[i, i - 1, 0, i, 0, "IMAGE"] for i in range(1, n)]
    graph = from_editor({"nodes": [node(0, "Source", gives=[1]), *reroutes, *sinks], "links": links}, NODES)
    assert [graph.nodes[str(n + i)].inputs["image"] for i in range(1, n)] == [["0", 0]] * (n - 1)
    assert len(steps) < 2 * n


def test_a_chain_in_which_all_are_outputs_is_walked_once(monkeypatch):
    n = 400
    graph = headless.parse(chain(n))
    asked = count_calls(monkeypatch, headless.check.__globals__["Interface"], "links")
    report = headless.check(graph, NODES)
    assert report.ok and report.order == tuple(str(i) for i in range(n)) == report.outputs
    assert len(asked) < 6 * n
    monkeypatch.undo()
    assert headless.run(graph, NODES, keep=("399",)).values["399"] == (n,)


def test_a_failing_node_names_every_output_that_needs_it():
    class Picky(Source):
        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"n": ("INT", {})}}

    graph = headless.parse({**chain(5), "0": {"class_type": "Picky", "inputs": {"n": "x"}}, "9": chain(1)["0"]})
    report = headless.check(graph, {**NODES, "Picky": Picky})
    assert report.outputs == ("9",)
    assert report.node_errors["0"]["dependent_outputs"] == ["1", "2", "3", "4"]


def test_circles_without_number():
    """Every node reads every other: as many circles as pairs of nodes, of which some are written out."""
    names = [str(i) for i in range(60)]
    order, circles = walk_upstream(lambda one: names, ["0"])
    assert sorted(order) == sorted(names)
    assert sum(len(one) > 2 for one in circles) <= limits.MOST_CIRCLES < len(circles)


def test_links_that_are_null_are_passed_over():
    flow = {
        "nodes": [node(0, "Source", gives=[1]), node(1, "Sink", reads=1)],
        "links": [None, [1, 0, 0, 1, 0, "IMAGE"]],
    }
    assert from_editor(flow, NODES).nodes["1"].inputs["image"] == ["0", 0]


@pytest.mark.parametrize(
    ("flow", "why"),
    [
        ({"nodes": [node(1, "Sink", reads=1)], "links": [[1, -10, 0, 1, 0, "IMAGE"]]}, "lies outside of all subgraphs"),
        ({"nodes": [None]}, "one of its nodes is no object with an id"),
        ({"nodes": [{"id": 1, "type": None}]}, "node 1 has no type"),
        ({"nodes": [], "definitions": {"subgraphs": 5}}, "its subgraphs are no list"),
        ({"nodes": [{"id": 1, "type": "Sink", "inputs": [{}] * 3000}]}, "node 1 has 3000 inputs or outputs"),
    ],
)
def test_what_is_no_workflow(flow, why):
    assert why in refused(from_editor, flow, NODES)


@pytest.mark.skipif(os.name == "nt", reason="has none of these")
def test_files_that_never_end(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", "/dev/zero"):
        assert ", not a file" in refused(headless.load, path, NODES)
    with (tmp_path / "long.json").open("wb") as file:
        file.truncate(2**40)
    assert "is too large for a table of JSON" in refused(headless.load, tmp_path / "long.json", NODES)
    (tmp_path / "deep.json").write_text(
        '{"1": {"class_type": "Sink", "inputs": {"image": ' + "[" * 300 + "]" * 300 + "}}}"
    )
    assert "more than 200 deep" in refused(headless.load, tmp_path / "deep.json", NODES)
    many = {str(i): {} for i in range(limits.MOST_NODES + 1)}
    (tmp_path / "many.json").write_text(json.dumps(many))
    assert f"{limits.MOST_NODES} are the most" in refused(headless.load, tmp_path / "many.json", NODES)


def test_settings_that_never_end():
    graph = headless.parse({"1": {"class_type": "Sink", "inputs": {"image": "a"}}})
    brackets = "[" * 100_000
    assert graph.set("1.image", brackets).nodes["1"].inputs["image"] == brackets
    tracemalloc.start()
    said = refused(graph.set, "." * 100_000, "1")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10 * 2**20  # bytes; all ways to split it would take ten billion
    assert "is too long: a node and its input have 1000 letters" in said and len(said) < 1000


def test_reading_and_checking_take_time_in_proportion_to_the_nodes():
    """Counted in calls of functions, so that it holds on any machine."""

    def count(length: int) -> int:
        chain = [{"id": 1, "type": "EmptyImage", "widgets_values": [8, 8, 1, 0], "outputs": [{"type": "IMAGE"}]}]
        links = [[i, i, 0, i + 1, 0, "IMAGE"] for i in range(1, length)]
        for i in range(2, length + 1):
            sockets = [{"name": "image", "type": "IMAGE", "link": i - 1}]
            chain.append({"id": i, "type": "ImageInvert", "inputs": sockets, "outputs": [{"type": "IMAGE"}]})
        sockets = [{"name": "images", "type": "IMAGE", "link": 0}]
        save = {"id": 0, "type": "SaveImage", "inputs": sockets, "widgets_values": ["%EmptyImage.width%"]}
        workflow = {"nodes": [*chain, save], "links": [*links, [0, length, 0, 0, 0, "IMAGE"]]}
        nodes, calls = headless.core_nodes("input", "output", "temp", {}), [0]

        def note(frame, event, argument):
            calls[0] += event == "call"

        sys.setprofile(note)
        try:
            assert headless.check(headless.parse(workflow, nodes), nodes).ok
        finally:
            sys.setprofile(None)
        return calls[0]

    assert count(400) < 2.1 * count(200)
