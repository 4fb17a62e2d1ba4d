"""Workflows of the editor: read as ComfyUI's own editor turns them into what it sends.

The files in workflows/ were built in the editor (frontend 1.49.6): `workflow` is what it saved, `prompt` what it sent.
"""

import copy
import json
from pathlib import Path

import pytest
from exact_vae import NODE_CLASS_MAPPINGS, headless
from exact_vae.headless import GraphError, parse

FILES = sorted((Path(__file__).parent / "workflows").glob("*.json"))
NODES = {**NODE_CLASS_MAPPINGS, **headless.core_nodes("input", "output", "temp", NODE_CLASS_MAPPINGS)}


def known(name: str) -> dict:
    return json.loads((Path(__file__).parent / "workflows" / f"{name}.json").read_text())


def by_position(workflow: dict) -> dict:
    """The same as older editors save it: values have no names."""
    inside = [node for one in workflow.get("definitions", {}).get("subgraphs", ()) for node in one["nodes"]]
    for node in workflow["nodes"] + inside:
        node.pop("widgets_values_named", None)
    return workflow


def read(workflow: dict) -> dict:
    """Node id -> class and inputs."""
    return {i: (n.class_type, dict(n.inputs)) for i, n in parse(workflow, NODES).nodes.items()}


def node(number: int, kind: str, inputs=(), values=(), outputs=(), mode: int = 0) -> dict:
    """inputs: (name, type, link); outputs: types."""
    return {
        "id": number,
        "type": kind,
        "mode": mode,
        "inputs": [{"name": n, "type": t, "link": link} for n, t, link in inputs],
        "outputs": [{"name": t, "type": t} for t in outputs],
        "widgets_values": list(values),
    }


def flow(*nodes: dict, links=()) -> dict:
    """links: [number, from, slot, to, slot, type]"""
    return {"nodes": list(nodes), "links": [list(link) for link in links], "version": 0.4}


SKY = node(1, "EmptyImage", values=[64, 48, 1, 255], outputs=["IMAGE"])
SAVE = node(9, "SaveImage", [("images", "IMAGE", 1)], ["sky"])


def through(*between: dict, links=()) -> dict:
    """What SaveImage gets of EmptyImage, with link 1 as its own."""
    return read(flow(SKY, *between, SAVE, links=links))["9"][1]


@pytest.mark.parametrize("form", [dict, by_position], ids=["values by name", "values by position"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_read_as_the_editor_sends_it(path, form):
    """Inputs that a node was given since then are the editor's own affair: it takes their defaults, as we do."""
    sent = json.loads(path.read_text())
    found = read(form(sent["workflow"]))
    assert found.keys() == sent["prompt"].keys()
    for number, (kind, inputs) in found.items():
        want = sent["prompt"][number]
        assert kind == want["class_type"] and {name: inputs.get(name) for name in want["inputs"]} == want["inputs"]
        assert inputs.keys() - want["inputs"].keys() <= NODES[kind].INPUT_TYPES().get("optional", {}).keys()


def test_links_as_objects():
    """As in version 1."""
    workflow = known("passing_on")["workflow"]
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    objects = {**workflow, "links": [dict(zip(names, link, strict=True)) for link in workflow["links"]]}
    assert read(objects) == read(workflow)


def test_saved_images_carry_the_workflow():
    workflow = known("subgraph")["workflow"]
    assert parse(workflow, NODES).pnginfo == {"workflow": workflow}


def test_titles_are_those_that_somebody_chose():
    graph = parse(flow({**SKY, "title": "Sky"}, SAVE, links=[[1, 1, 0, 9, 0, "IMAGE"]]), NODES)
    assert graph.set("Sky.width", "32").nodes["1"].inputs["width"] == 32
    assert str(graph.nodes["9"]) == "node 9 (SaveImage)"


def test_a_control_stands_behind_a_seed_and_a_button_that_uploads_at_the_end():
    """As frontend 1.49.6 sent them: the button is no input that the host's order names."""
    image = node(1, "LoadImage", values=["a.png", "image"])
    sample = node(2, "ExactLatentSample", values=[5, "randomize", 3])
    mask = node(3, "LoadImageMask", values=["a.png", "red", "image"])
    video = node(4, "ExactVAEEncodeVideoFile", values=["none", "sample", 5, "image"])
    found = read(flow(image, sample, mask, video))
    assert found["1"][1] == {"image": "a.png"}
    assert (found["2"][1]["seed"], found["2"][1]["samples_per_image"]) == (5, 3)
    assert found["3"][1] == {"image": "a.png", "channel": "red"}
    assert {"posterior": "sample", "seed": 5}.items() <= found["4"][1].items()


def test_values_that_an_older_file_lacks_are_defaults():
    (found,) = read(flow(node(2, "ExactVAEEncode", values=["sample", 4]))).values()
    assert found[1]["posterior"] == "sample" and found[1]["seed"] == 4 and found[1]["odd_sizes"] == "pad"


def test_values_of_a_class_nobody_knows_are_missed_when_the_graph_is_checked():
    graph = parse(flow(node(2, "Strange", values=[1, 2], outputs=["IMAGE"])), NODES)
    assert graph.nodes["2"].inputs == {}
    assert "Strange" in headless.check(graph, NODES).sentence()


@pytest.mark.parametrize(("mode", "want"), [(0, ["5", 0]), (4, ["1", 0]), (2, None)], ids=["runs", "bypassed", "muted"])
def test_modes(mode, want):
    middle = node(5, "Blur", [("image", "IMAGE", 2)], outputs=["IMAGE"], mode=mode)
    inputs = through(middle, links=[[1, 5, 0, 9, 0, "IMAGE"], [2, 1, 0, 5, 0, "IMAGE"]])
    assert inputs.get("images") == want and inputs["filename_prefix"] == "sky"


def test_a_bypassed_node_gives_the_input_that_fits():
    """Not the one beside the output if that is of another type, as in the editor."""
    sockets = [("mask", "MASK", None), ("image", "IMAGE", 2)]
    links = [[1, 5, 0, 9, 0, "IMAGE"], [2, 1, 0, 5, 1, "IMAGE"]]
    assert through(node(5, "Blur", sockets, outputs=["IMAGE"], mode=4), links=links)["images"] == ["1", 0]
    assert "images" not in through(node(5, "Blur", sockets[:1], outputs=["IMAGE"], mode=4), links=links[:1])


def test_an_older_subgraph_keeps_its_values_inside():
    workflow = known("promoted")["workflow"]
    (shell,) = [one for one in workflow["nodes"] if "-" in one["type"]]
    shell["widgets_values"], shell["widgets_values_named"] = [], {}
    (encode,) = [inputs for kind, inputs in read(workflow).values() if kind == "ExactVAEEncode"]
    assert encode["seed"] == 7
    shell["widgets_values"] = [8, 2, 3]  # the editor takes what it knows
    assert [inputs["seed"] for kind, inputs in read(workflow).values() if kind == "ExactVAEEncode"] == [8]


def refused(workflow: dict) -> str:
    with pytest.raises(GraphError) as caught:
        read(workflow)
    return str(caught.value)


def test_what_cannot_be_read_gets_a_sentence():
    assert "node 3 (Mine) is a group node" in refused(flow(node(3, "workflow>Mine")))
    assert refused(flow(SAVE)) == "an input reads link 1, which is not in this file"
    assert refused(flow(SAVE, links=[[1, 7, 0, 9, 0, "IMAGE"]])) == "node 9 reads node 7, which is not in this file"
    assert refused({"nodes": [{"type": "A"}]}) == "one of its nodes is no object with an id"
    assert refused({"nodes": [5]}) == "one of its nodes is no object with an id"
    broken = node(9, "SaveImage") | {"inputs": [5]}
    assert refused(flow(broken)).startswith("this workflow cannot be read: TypeError")


def test_circles_end():
    one, other = node(4, "Reroute", [("", "*", 2)]), node(5, "Reroute", [("", "*", 3)])
    links = [[1, 4, 0, 9, 0, "IMAGE"], [2, 5, 0, 4, 0, "*"], [3, 4, 0, 5, 0, "*"]]
    assert "read one another in a circle" in refused(flow(one, other, SAVE, links=links))
    workflow = copy.deepcopy(known("subgraph")["workflow"])
    (subgraph,) = workflow["definitions"]["subgraphs"]
    subgraph["nodes"].append(node(99, subgraph["id"]))
    assert refused(workflow) == "the subgraph 'New Subgraph' contains itself"
