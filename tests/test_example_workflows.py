"""The example workflows are what their recipes say, and they run."""

import json
import re
import sys
from pathlib import Path

import pytest
from exact_vae import NODE_CLASS_MAPPINGS, headless
from exact_vae.nodes import host
from PIL import Image

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "example_workflows"
sys.path.insert(0, str(ROOT / "docs" / "workflows"))
from blueprints import BLUEPRINTS, as_blueprint  # noqa: E402
from drawing import MODELS, list_inputs, list_outputs  # noqa: E402
from recipes import RECIPES  # noqa: E402

RUNNABLE = [name for name in RECIPES if name != "img2img"]  # which needs a diffusion model


def written(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", RECIPES)
def test_the_files_are_those_of_the_recipe(name):
    from drawing import in_editor_format

    assert written(name) == in_editor_format(name, RECIPES[name])


@pytest.mark.parametrize("name", RECIPES)
def test_links_join_what_fits(name):
    """Each from an output of a type to an input of that type, as both ends say."""
    workflow = written(name)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, source, out, target, into, kind in workflow["links"]:
        assert number in nodes[source]["outputs"][out]["links"] and nodes[target]["inputs"][into]["link"] == number
        assert list_outputs(nodes[source]["type"])[out][1] == kind
        assert list_inputs(nodes[target]["type"])[nodes[target]["inputs"][into]["name"]][0] == kind


@pytest.mark.parametrize("name", RECIPES)
def test_no_node_lies_on_another(name):
    boxes = [(*node["pos"], *node["size"]) for node in written(name)["nodes"]]
    for i, (x, y, w, h) in enumerate(boxes):
        for left, top, width, height in boxes[i + 1 :]:
            assert x + w <= left or left + width <= x or y + h + 30 <= top or top + height + 30 <= y


@pytest.mark.parametrize("name", RECIPES)
def test_a_note_explains_it_in_a_few_sentences(name):
    (note,) = [node for node in written(name)["nodes"] if node["type"] == "MarkdownNote"]
    title, text = note["widgets_values"][0].split("\n", 1)
    assert title.startswith("## ") and "`" not in text, "Nodes 2.0 draws code light on a coloured note"
    assert 2 <= len(re.findall(r"[.:?] |\.$|\.\*\*", text)) <= 6


@pytest.mark.parametrize("name", RUNNABLE)
def test_it_runs(tmp_path, name):
    """In small, without ComfyUI: every node, with images for every node that shows some."""
    nodes = {**NODE_CLASS_MAPPINGS, **headless.core_nodes(tmp_path, tmp_path, tmp_path, NODE_CLASS_MAPPINGS)}
    graph = headless.load(FOLDER / f"{name}.json", nodes)
    for node in graph.nodes.values():
        quicker = {"width": "64", "height": "64", "dtype": "auto" if node.title else "fp32"}
        for name_of_input in quicker.keys() & node.inputs.keys():  # bf16 is slow on most CPUs
            graph = graph.set(f"{node.id}.{name_of_input}", quicker[name_of_input])
    (tmp_path / "input").mkdir()
    Image.new("RGB", (64, 48), "red").save(tmp_path / "input" / "one.png")
    with host.surroundings(tmp_path, output=tmp_path, input=tmp_path / "input"):
        results = headless.run(graph, nodes)
    assert results.report.ok
    showing = [i for i, node in graph.nodes.items() if node.class_type in ("PreviewImage", "SaveImage")]
    assert showing and all(results.outputs[i]["images"] for i in showing)
    assert set(results.executed) == set(graph.nodes)


def test_only_models_are_strange():
    """Image to image needs a checkpoint; all its other nodes are known here, and their inputs right."""
    nodes = {**NODE_CLASS_MAPPINGS, **headless.core_nodes("input", "output", "temp", NODE_CLASS_MAPPINGS)}
    graph = headless.load(FOLDER / "img2img.json", nodes)
    assert {node.class_type for node in graph.nodes.values()} - set(nodes) == set(MODELS)


def read_blueprint(name: str) -> dict:
    return json.loads((ROOT / "subgraphs" / f"{name}.json").read_text())


def test_blueprints_are_those_that_are_drawn():
    found = {path.stem: json.loads(path.read_text()) for path in (ROOT / "subgraphs").iterdir()}
    assert found == {name: as_blueprint(name, one) for name, one in BLUEPRINTS.items()}


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_lacks_nothing(name):
    """Each socket of a node inside is linked, if the node needs it, to what has its type; promoted widgets exist."""
    (outer,), (inside,) = read_blueprint(name)["nodes"], read_blueprint(name)["definitions"]["subgraphs"]
    nodes = {node["id"]: node for node in inside["nodes"]}
    for link in inside["links"]:
        given = inside["inputs"] if link["origin_id"] == -10 else nodes[link["origin_id"]]["outputs"]
        taken = inside["outputs"] if link["target_id"] == -20 else nodes[link["target_id"]]["inputs"]
        assert given[link["origin_slot"]]["type"] == taken[link["target_slot"]]["type"] == link["type"]
    for node in nodes.values():
        needed = NODE_CLASS_MAPPINGS[node["type"]].INPUT_TYPES()["required"] if node["type"] not in MODELS else ()
        assert all(one["link"] for one in node["inputs"] if one["name"] in needed)
    for number, widget in outer["properties"]["proxyWidgets"]:
        assert widget in nodes[int(number)]["widgets_values_named"]


def test_a_blueprint_runs(tmp_path):
    """As a node among others: an image and a VAE go in, figures and images come out."""
    whole = read_blueprint("Round-trip report (Exact VAE)")
    (outer,) = whole["nodes"]
    around = written("round_trip")["nodes"]
    image, vae = (next(n for n in around if n["type"] == kind) for kind in ("ExactExampleImage", "ExactVAELoader"))
    image["id"], vae["id"], shown = 10, 11, next(n for n in around if n["type"] == "PreviewImage")
    shown["id"] = 12
    image["outputs"][0]["links"], vae["outputs"][0]["links"], outer["outputs"][2]["links"] = [1], [2], [3]
    outer["inputs"][0]["link"], outer["inputs"][1]["link"], shown["inputs"][0]["link"] = 1, 2, 3
    whole["nodes"] = [image, vae, outer, shown]
    number = outer["id"]
    whole["links"] = [[1, 10, 0, number, 0, "IMAGE"], [2, 11, 0, number, 1, "VAE"], [3, number, 2, 12, 0, "IMAGE"]]
    nodes = {**NODE_CLASS_MAPPINGS, **headless.core_nodes(tmp_path, tmp_path, tmp_path, NODE_CLASS_MAPPINGS)}
    graph = headless.parse(whole, nodes).set("10.width", "64").set("10.height", "64")
    with host.surroundings(tmp_path, output=tmp_path):
        results = headless.run(graph, nodes)
    assert results.report.ok and results.outputs["12"]["images"]
