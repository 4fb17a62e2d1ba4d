"""Reading graphs: both envelopes, links, wrapped lists, overrides, and the sentences of refusal."""

import json

import pytest
from exact_vae.headless import Graph, GraphError, load, parse
from exact_vae.headless.graph import link, literal
from exact_vae.vae_core.errors import VAEError

SMALL = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "color": 0}, "_meta": {"title": "Sky"}},
    "2": {"class_type": "Blur", "inputs": {"image": ["1", 0], "by.x": 3, "name": "1.50"}},
    "3": {"class_type": "Blur", "inputs": {"image": ["2", 0]}},
}


def sentence(call, *arguments) -> str:
    with pytest.raises(GraphError) as caught:
        call(*arguments)
    return str(caught.value)


def test_parse_reads_class_inputs_and_title():
    node = parse(SMALL).nodes["1"]
    assert (node.id, node.class_type, node.title) == ("1", "EmptyImage", "Sky")
    assert node.inputs == {"width": 64, "color": 0}
    assert str(node) == "node 1 (EmptyImage, 'Sky')"
    assert str(parse(SMALL).nodes["2"]) == "node 2 (Blur)"


def test_body_of_a_request_is_unwrapped_with_its_workflow():
    body = {"prompt": SMALL, "client_id": "x", "extra_data": {"extra_pnginfo": {"workflow": {"id": 5}}}}
    graph = parse(body)
    assert graph.to_json() == SMALL
    assert graph.pnginfo == {"workflow": {"id": 5}}


def test_a_node_may_be_called_prompt():
    assert list(parse({"prompt": SMALL["1"]}).nodes) == ["prompt"]


def test_to_json_gives_back_what_was_read():
    entry = {"class_type": "Pick", "inputs": {"names": {"__value__": ["a", 0]}, "from": ["1", 0]}}
    assert parse({"7": entry}).to_json() == {"7": entry}


@pytest.mark.parametrize(
    "value, expected",
    [
        (["1", 0], ("1", 0)),
        (["1", 2.0], ("1", 2)),
        (["1", 0.5], ("1", -1)),
        (["1", float("inf")], ("1", -1)),
        (["1", True], None),
        ([1, 0], None),
        (["1", "0"], None),
        (["1"], None),
        (["1", 0, 0], None),
        (("1", 0), None),
        ("10", None),
    ],
)
def test_link(value, expected):
    assert link(value) == expected


def test_literal_unwraps_lists_only_where_they_are_wrapped():
    assert literal({"__value__": ["a", 0]}) == ["a", 0]
    assert literal({"x": 1}) == {"x": 1}
    assert literal(7) == 7


@pytest.mark.parametrize(
    "address, text, node, name, expected",
    [
        ("1.width", "128", "1", "width", 128),
        ("1.width", "0.5", "1", "width", 0.5),
        ("1.width", "null", "1", "width", None),
        ("1.width", "NaN", "1", "width", "NaN"),
        ("1.width", "wide", "1", "width", "wide"),
        ("Sky.width", "8", "1", "width", 8),
        ("EmptyImage.width", "8", "1", "width", 8),
        ("2.by.x", "4", "2", "by.x", 4),
        ("2.name", "2.50", "2", "name", "2.50"),
        ("2.name", '"quoted"', "2", "name", "quoted"),
        ("2.image", '["3", 0]', "2", "image", ["3", 0]),
        ("2.name", "[1, 2, 3]", "2", "name", {"__value__": [1, 2, 3]}),
    ],
)
def test_set(address, text, node, name, expected):
    changed = parse(SMALL).set(address, text)
    assert changed.nodes[node].inputs[name] == expected
    assert type(changed.nodes[node].inputs[name]) is type(expected)


@pytest.mark.parametrize(
    ("text", "flag"), [("False", False), ("off", False), ("0", False), ('"no"', False), ("true", True), ("Yes", True)]
)
def test_a_flag_is_set_by_what_people_write(text, flag):
    """The host would take "False" for true: it is a text that is not empty."""
    graph = Graph()
    graph.add("Own", flag=True)
    assert graph.set("1.flag", text).nodes["1"].inputs["flag"] is flag
    with pytest.raises(GraphError, match="'maybe' is neither true nor false"):
        graph.set("1.flag", "maybe")
    assert graph.set("1.flag", '["1", 0]').nodes["1"].inputs["flag"] == ["1", 0]


def test_set_leaves_the_graph_it_was_asked_of_alone():
    graph = parse(SMALL)
    graph.set("1.width", "128")
    assert graph.to_json() == SMALL


def test_a_title_with_dots_can_be_addressed():
    graph = parse({"1": {"class_type": "A", "inputs": {"x": 1}, "_meta": {"title": "v1.5 sky"}}})
    assert graph.set("v1.5 sky.x", "2").nodes["1"].inputs["x"] == 2


@pytest.mark.parametrize(
    "address, expected",
    [
        ("1.widht", "node 1 (EmptyImage, 'Sky') has no input 'widht' in this file; nearest is 'width'"),
        ("3.strength", "node 3 (Blur) has no input 'strength' in this file; it has image"),
        ("Blur.image", "2 nodes are called 'Blur': say which by its id (2, 3)"),
        ("width", "'width' does not say which input of which node: write it as 3.seed"),
    ],
)
def test_set_says_what_it_cannot_find(address, expected):
    assert sentence(parse(SMALL).set, address, "1") == expected


def test_set_lists_the_nodes_there_are():
    said = sentence(parse(SMALL).set, "9.width", "1")
    assert said.startswith("there is no node '9' in this graph; it has node 1 (EmptyImage, 'Sky'), node 2 (Blur)")


def test_a_graph_of_the_editor_needs_the_classes_of_its_nodes():
    said = sentence(parse, {"nodes": [], "links": [], "version": 0.4})
    assert said == "this graph is in the format of the editor: say with which node classes it is to be read"
    assert parse({"nodes": [], "links": [], "version": 0.4}, {}).nodes == {}


@pytest.mark.parametrize(
    "obj, expected",
    [
        ([], "a graph is a JSON object of nodes by their ids"),
        ({"1": 5}, "node 1 is not a JSON object with class_type and inputs"),
        ({"1": {"class_type": "A", "inputs": []}}, "the inputs of node 1 are not a JSON object"),
    ],
)
def test_what_is_no_graph_is_refused(obj, expected):
    assert sentence(parse, obj) == expected


def test_load_reads_a_file_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "graph.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(SMALL).encode())
    assert isinstance(load(path), Graph)
    assert load(path).to_json() == SMALL


def test_load_names_the_file_it_could_not_read(tmp_path):
    path = tmp_path / "graph.json"
    assert sentence(load, path) == f"cannot read the graph: there is no file '{path}'."
    path.write_text("{")
    assert sentence(load, path).startswith(f"'{path}' is not JSON: ")
    path.write_bytes(b"\x89PNG\r\n")
    assert sentence(load, path).startswith(f"'{path}' is not JSON: ")
    path.write_text('{"nodes": []}')
    assert sentence(load, path).startswith(f"'{path}': this graph is in the format of the editor")


def test_a_refusal_is_a_vae_error_with_the_answer_of_the_host():
    with pytest.raises(VAEError) as caught:
        parse([])
    assert isinstance(caught.value, GraphError)
    error = caught.value.body["error"]
    assert (error["type"], error["message"]) == ("invalid_prompt", str(caught.value))
    assert caught.value.body["node_errors"] == {}
