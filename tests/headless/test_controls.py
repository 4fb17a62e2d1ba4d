"""Values between two runs: what `advance` makes of them is what the editor (frontend 1.49.6) makes after each run."""

import pytest
from exact_vae.headless import advance, parse, read_definitions
from exact_vae.headless.controls import LARGEST, read_control
from exact_vae.headless.inputs import Input

SEED = ["INT", {"min": 0, "max": 0xFFFFFFFF, "control_after_generate": True}]
PICK = [["ab", "b", 3, "Ac"], {"control_after_generate": True}]
NODES = read_definitions(
    {
        "Seed": {"input": {"required": {"seed": SEED, "also": ["INT", {}]}}, "output": ["INT"]},
        "Narrow": {"input": {"required": {"seed": ["INT", {"min": 4, "max": 10, "step": 3}]}}, "output": ["INT"]},
        "Pick": {"input": {"required": {"pick": PICK}}, "output": ["STRING"]},
        "PrimitiveInt": {"input": {"required": {"value": SEED}}, "output": ["INT"]},
        "Show": {"input": {"required": {"value": ["*", {}]}}, "output": [], "output_node": True},
    }
)


def place(number, kind, row, link=None, gives=(), name="seed", **more):
    widget = {"name": name, "type": "INT", "link": link, "widget": {"name": name}}
    outputs = [{"name": "INT", "type": "INT", "links": list(gives)}]
    return {"id": number, "type": kind, "widgets_values": row, "inputs": [widget], "outputs": outputs, **more}


def steps(nodes, links=(), *, runs=3, definitions=()) -> dict[str, list]:
    """Node id -> its first input in each of the runs."""
    file = {"nodes": nodes, "links": links, "version": 0.4, "definitions": {"subgraphs": list(definitions)}}
    graph, found = parse(file, NODES), {}
    for _ in range(runs):
        for node in graph.nodes.values():
            found.setdefault(node.id, []).append(next(iter(node.inputs.values())))
        graph = advance(graph)
    return found


def change(value, how, kind="INT", filtered="", **options):
    control = read_control(Input("x", kind, options, True), how, filtered)
    return control.change(value) if control else value


@pytest.mark.parametrize(
    ("how", "value", "options", "want"),
    [
        ("increment", 7, {"max": 9}, 8),
        ("increment-wrap", 9, {"max": 9}, 9),
        ("increment", 2048, {}, 2048),
        ("decrement", 0, {}, 0),
        ("decrement", -5, {"min": -9}, -6),
        ("increment", 2**64 - 1, {"max": 2**64 - 1}, LARGEST),
        ("increment", 4, {"min": 4, "max": 10, "step": 3}, 7),
        ("decrement", 2, {"min": -3, "max": 10, "step": 2}, 1),  # steps are counted from the rest of the least
        ("fixed", 7, {}, 7),
        ("no such word", 7, {}, 7),
        ("increment", True, {}, True),
        ("increment", "7", {}, "7"),
    ],
)
def test_whole_numbers(how, value, options, want):
    found = change(value, how, **options)
    assert found == want and type(found) is type(want)


@pytest.mark.parametrize(
    ("how", "value", "options", "want"),
    [
        ("increment", 1.0, {}, 1.5),
        ("increment", 0.1, {"step": 0.01}, 0.11),
        ("decrement", 0.05, {"step": 0.1, "min": 0.0}, 0.0),
        ("increment", 1.0, {"step": 0.1, "round": 0.25}, 1.0),
        ("increment", 2.0, {"max": 2.25, "round": False}, 2.25),  # rounded up, and only then cut to the bounds
        ("increment", float("nan"), {}, None),
    ],
)
def test_fractions(how, value, options, want):
    found = change(value, how, "FLOAT", **options)
    assert found == want if want is not None else found != found


def test_numbers_that_are_drawn_keep_to_bounds_and_steps():
    assert {change(4, "randomize", min=4, max=13, step=3) for _ in range(200)} == {4, 7, 10}
    assert all(0 <= change(1, "randomize", max=2**64 - 1) <= LARGEST for _ in range(50))
    assert {change(0.0, "randomize", "FLOAT", max=1.0, step=0.5) for _ in range(100)} == {0.0, 0.5}


@pytest.mark.parametrize(
    ("how", "value", "filtered", "want"),
    [
        ("increment", "ab", "", "b"),
        ("increment", "Ac", "", "Ac"),
        ("increment-wrap", "Ac", "", "ab"),
        ("decrement", "ab", "", "ab"),
        ("increment", "ab", "A", "Ac"),  # any letters, large or small
        ("increment", "b", "/^A/", "Ac"),
        ("increment", "b", "/(/", "b"),  # no expression, and in no choice
        ("increment", "b", "none of them", "b"),
        ("increment", "gone", "", "ab"),
        ("randomize", "ab", "ac", "Ac"),
    ],
)
def test_choices(how, value, filtered, want):
    assert change(value, how, PICK[0], filtered) == want


def test_a_widget_is_changed_as_its_control_says():
    found = steps([place(1, "Seed", [5, "increment", 0]), place(2, "Pick", ["ab", "increment", "/b/"], name="pick"),
                   place(3, "PrimitiveInt", [5, "increment"], name="value", properties={"max": 6}),
                   place(4, "PrimitiveInt", [-5, "decrement"], name="value")])  # fmt: skip
    assert found == {"1": [5, 6, 7], "2": ["ab", "b", "b"], "3": [5, 6, 6], "4": [-5, -6, -7]}


@pytest.mark.parametrize(("how", "want"), [("increment", [7, 8, 9]), ("fixed", [7, 7, 7])])
def test_a_primitive_changes_all_that_it_feeds(how, want):
    links = [[1, 3, 0, 1, 0, "INT"], [2, 3, 0, 2, 0, "INT"]]
    fed = [place(1, "Seed", [5, "randomize", 0], 1), place(2, "Seed", [6, "decrement", 0], 2)]
    assert steps([place(3, "PrimitiveNode", [7, how], gives=[1, 2]), *fed], links) == {"1": want, "2": want}


def test_one_number_is_drawn_for_all():
    links = [[1, 3, 0, 1, 0, "INT"], [2, 3, 0, 2, 0, "INT"]]
    fed = [place(1, "Seed", [5, "fixed", 0], 1), place(2, "Seed", [6, "fixed", 0], 2)]
    found = steps([place(3, "PrimitiveNode", [7, "randomize"], gives=[1, 2]), *fed], links, runs=4)
    assert found["1"] == found["2"] and len(set(found["1"])) == 4


def test_a_primitive_keeps_to_the_bounds_of_all_that_it_feeds():
    links = [[1, 3, 0, 1, 0, "INT"], [2, 3, 0, 2, 0, "INT"]]
    fed = [place(1, "Seed", [5, "fixed", 0], 1), place(2, "Narrow", [4], 2)]
    assert steps([place(3, "PrimitiveNode", [7, "increment"], gives=[1, 2]), *fed], links)["1"] == [7, 10, 10]


@pytest.mark.parametrize("mode", [0, 2])
def test_a_widget_with_a_link_stays(mode):
    nodes = [place(8, "PrimitiveInt", [1, "fixed"], gives=[1], name="value", mode=mode)]
    found = steps([*nodes, place(1, "Seed", [5, "increment", 0], 1)], [[1, 8, 0, 1, 0, "INT"]])
    assert found["1"] == [5] * 3 if mode else found["1"] == [["8", 0]] * 3


def subgraph(how: str, promoted: bool) -> dict:
    inner = [{"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0, "type": "INT"}]
    return {
        "id": "sub",
        "inputs": [{"name": "seed", "type": "INT", "linkIds": [1]}] if promoted else [],
        "outputs": [],
        "nodes": [place(1, "Seed", [5, how, 0], 1 if promoted else None)],
        "links": inner if promoted else [],
    }


def test_widgets_on_a_subgraph_have_the_control_of_the_widget_inside():
    shells = [place(3, "sub", [40]), place(5, "sub", [70])]
    assert steps(shells, definitions=[subgraph("increment", True)]) == {"3:1": [40, 41, 42], "5:1": [70, 71, 72]}
    linked = [place(3, "sub", [40], 1), place(8, "PrimitiveInt", [1, "fixed"], gives=[1], name="value")]
    found = steps(linked, [[1, 8, 0, 3, 0, "INT"]], definitions=[subgraph("increment", True)])
    assert found["3:1"] == [["8", 0]] * 3


def test_uses_of_a_subgraph_share_what_lies_in_it():
    shells = [{**place(number, "sub", []), "inputs": []} for number in (3, 5)]
    found = steps(shells, definitions=[subgraph("randomize", False)])
    assert found["3:1"] == found["5:1"] and len(set(found["3:1"])) == 3


def test_inputs_that_were_set_apart_stay_apart():
    links = [[1, 3, 0, 1, 0, "INT"], [2, 3, 0, 2, 0, "INT"]]
    fed = [place(1, "Seed", [5, "fixed", 0], 1), place(2, "Seed", [6, "fixed", 0], 2)]
    file = {"nodes": [place(3, "PrimitiveNode", [7, "increment"], gives=[1, 2]), *fed], "links": links}
    graph = advance(parse(file, NODES).put("2.seed", 20))
    assert (graph.nodes["1"].inputs["seed"], graph.nodes["2"].inputs["seed"]) == (8, 21)
