"""Small workflows in every form that editors have saved, and what the editor (frontend 1.49.6) sends for each.

They were made for this test and given to a real editor by `python benchmarks/against_editor.py`.
"""

import json
from copy import deepcopy
from datetime import datetime
from pathlib import Path

import pytest
from exact_vae.headless import GraphError, parse, read_definitions
from exact_vae.headless.texts import fill_choices, fill_prefix, format_date

FORMS = json.loads((Path(__file__).parent / "workflows" / "forms" / "forms.json").read_text())
SIZE = {"default": 512, "min": 1, "max": 16384}
RESIZE = [
    {"key": "scale dimensions", "inputs": {"required": {"width": ["INT", SIZE], "height": ["INT", SIZE]}}},
    {"key": "scale by multiplier", "inputs": {"required": {"multiplier": ["FLOAT", {"default": 1.0}]}}},
]
RESIZE[0]["inputs"]["required"]["crop"] = ["COMBO", {"options": ["disabled", "center"], "default": "center"}]
IMAGES = {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 1, "max": 50}}


def declare(required: dict, *outputs: str, output_node: bool = False) -> dict:
    return {"input": {"required": required}, "output": outputs, "output_node": output_node}


DEFINITIONS = read_definitions(
    {
        "EmptyImage": declare(
            {"width": ["INT", SIZE], "height": ["INT", SIZE], "batch_size": ["INT", {"default": 1}],
             "color": ["INT", {"default": 0}]}, "IMAGE"),
        "SaveImage": declare({"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}),
        "PreviewImage": declare({"images": ["IMAGE"]}, output_node=True),
        "PreviewAny": declare({"source": ["*", {}]}, "STRING", output_node=True),
        "ImageInvert": declare({"image": ["IMAGE"]}, "IMAGE"),
        "ImageBatch": declare({"image1": ["IMAGE"], "image2": ["IMAGE"]}, "IMAGE"),
        "ImageScaleBy": declare({"image": ["IMAGE"], "upscale_method": [["nearest-exact", "area"]],
                                 "scale_by": ["FLOAT", {"default": 1.0}]}, "IMAGE"),
        "BatchImagesNode": declare({"images": ["COMFY_AUTOGROW_V3", IMAGES]}, "IMAGE"),
        "ResizeImageMaskNode": declare(
            {"input": ["COMFY_MATCHTYPE_V3", {"template": {"template_id": "t", "allowed_types": "IMAGE,MASK"}}],
             "resize_type": ["COMFY_DYNAMICCOMBO_V3", {"options": RESIZE}],
             "scale_method": ["COMBO", {"options": ["nearest-exact", "area"], "default": "area"}]}, "IMAGE"),
        "CLIPTextEncode": declare({"text": ["STRING", {"multiline": True, "dynamicPrompts": True}],
                                   "clip": ["CLIP"]}, "CONDITIONING"),
        "PrimitiveInt": declare({"value": ["INT", {"control_after_generate": "fixed"}]}, "INT"),
        "PrimitiveFloat": declare({"value": ["FLOAT", {}]}, "FLOAT"),
        "PrimitiveString": declare({"value": ["STRING", {}]}, "STRING"),
        "PrimitiveStringMultiline": declare({"value": ["STRING", {"multiline": True}]}, "STRING"),
        "RandomNoise": declare({"noise_seed": ["INT", {"control_after_generate": True}]}, "NOISE"),
        "KSamplerSelect": declare({"sampler_name": ["COMBO", {"options": ["euler"]}]}, "SAMPLER"),
        "CustomCombo": declare({"choice": ["COMBO", {"options": []}]}, "STRING", "INT"),
    }
)  # fmt: skip


def read(workflow: dict) -> dict:
    return {i: [n.class_type, dict(n.inputs)] for i, n in parse(workflow, DEFINITIONS).nodes.items()}


@pytest.mark.parametrize("name", FORMS)
def test_it_is_read_as_the_editor_sends_it(name):
    assert read(FORMS[name]["workflow"]) == FORMS[name]["prompt"]


def node(number: int, kind: str, inputs=(), values=(), outputs=(), **more) -> dict:
    sockets = [{"name": n, "type": t, "link": link} for n, t, link in inputs]
    return {"id": number, "type": kind, "inputs": sockets, "outputs": [{"name": t, "type": t} for t in outputs],
            "widgets_values": list(values), **more}  # fmt: skip


SKY = node(1, "EmptyImage", values=[64, 48, 1, 255], outputs=["IMAGE"])


def saved(*between: dict, links) -> dict:
    return read({"nodes": [SKY, *between, node(9, "SaveImage", [("images", "IMAGE", 1)], ["sky"])], "links": links})


def test_names_given_to_values_are_read_through():
    """SetNode, GetNode and a pack's reroute: the editor leaves them out where their pack is installed."""
    between = [
        node(5, "SetNode", [("IMAGE", "IMAGE", 2)], ["a"], ["*"]),
        node(6, "GetNode", [], ["a"], ["IMAGE"]),
        node(7, "Reroute (rgthree)", [("", "*", 3)], [], ["*"]),
    ]
    links = [[2, 1, 0, 5, 0, "IMAGE"], [3, 6, 0, 7, 0, "IMAGE"], [1, 7, 0, 9, 0, "IMAGE"]]
    found = saved(*between, links=links)
    assert found.keys() == {"1", "9"} and found["9"][1]["images"] == ["1", 0]
    assert "images" not in saved(node(6, "GetNode", [], ["b"], ["IMAGE"]), links=[[1, 6, 0, 9, 0, "IMAGE"]])["9"][1]


def test_a_name_is_found_outside_of_a_subgraph():
    inner = [node(6, "GetNode", [], ["a"], ["IMAGE"]), node(7, "ImageInvert", [("image", "IMAGE", 1)], [], ["IMAGE"])]
    links = [dict(id=1, origin_id=6, origin_slot=0, target_id=7, target_slot=0, type="IMAGE")]
    subgraph = {"id": "s", "name": "s", "nodes": inner, "links": links, "inputs": [], "outputs": []}
    outer = [SKY, node(5, "SetNode", [("IMAGE", "IMAGE", 2)], ["a"], ["*"]), node(2, "s")]
    workflow = {"nodes": outer, "links": [[2, 1, 0, 5, 0, "IMAGE"]], "definitions": {"subgraphs": [subgraph]}}
    assert read(workflow)["2:7"][1] == {"image": ["1", 0]}


def test_nodes_of_the_editor_alone_are_left_out():
    panels = [
        node(4, "Fast Groups Muter (rgthree)", outputs=["*"]),
        node(5, "Some Label", values=["a note"]),
        node(6, "MarkdownNote", values=["a note"]),
    ]
    assert saved(*panels, links=[[1, 1, 0, 9, 0, "IMAGE"]]).keys() == {"1", "9"}
    assert "7" in saved(node(7, "Some Class", outputs=["INT"]), links=[[1, 1, 0, 9, 0, "IMAGE"]])


def test_what_the_editor_cannot_send_is_refused():
    with pytest.raises(GraphError, match="an input reads link 1, which is not in this file"):
        saved(links=[])
    with pytest.raises(GraphError, match="node 9 reads node 77, which is not in this file"):
        saved(links=[[1, 77, 0, 9, 0, "IMAGE"]])
    with pytest.raises(GraphError, match="lies outside of all subgraphs"):
        saved(links=[[1, -10, 0, 9, 0, "IMAGE"]])
    assert saved(links=[None, [1, 1, 0, 9, 0, "IMAGE"]])["9"][1]["images"] == ["1", 0]


def test_a_link_that_is_gone_of_a_widget_that_the_shell_lists():
    """As the editor: the value is still the shell's. Seen with one of the official templates, less a link."""
    kept = FORMS["proxies_order_inner"]
    workflow = deepcopy(kept["workflow"])
    (subgraph,) = workflow["definitions"]["subgraphs"]
    (height,) = (one["link"] for one in subgraph["nodes"][0]["inputs"] if one["name"] == "height")
    subgraph["links"] = [one for one in subgraph["links"] if one["id"] != height]
    assert read(workflow) == kept["prompt"]
    (shell,) = (one for one in workflow["nodes"] if one["type"] == subgraph["id"])
    shell["properties"]["proxyWidgets"] = [["-1", "height"], ["-1", "width"]]
    with pytest.raises(GraphError, match=f"an input reads link {height}, which is not in this file"):
        read(workflow)


@pytest.mark.parametrize("proxies", ["height", ["", "x"], [["1"]], [5], {"1": "x"}], ids=str)
def test_listed_widgets_that_are_no_pairs(proxies):
    workflow = deepcopy(FORMS["proxies_order_inner"]["workflow"])
    kinds = {one["id"] for one in workflow["definitions"]["subgraphs"]}
    (shell,) = (one for one in workflow["nodes"] if one["type"] in kinds)
    shell["properties"]["proxyWidgets"] = proxies
    with pytest.raises(GraphError, match=f"the proxyWidgets of node {shell['id']} are no pairs of a node's id"):
        read(workflow)


def test_one_of_several_choices():
    last = fill_choices("a {b|c|{d|e}} f", choose=lambda options: options[-1])
    assert last == "a e f"
    assert fill_choices("{" * 5000 + "x", choose=lambda options: options[0]) == "x"
    assert {fill_choices("{b|c}") for _ in range(60)} == {"b", "c"}


MORNING = datetime(2026, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(
    ("form", "want"),
    [
        ("yyyy-MM-dd", "2026-03-04"),
        ("d/M/yy", "4/3/26"),
        ("hhmmss", "050607"),
        ("h-m-s", "5-6-7"),
        ("yyy HH", "yyy HH"),
        ("MMM dddd", "033 0404"),
        ("", ""),
    ],
)
def test_dates(form, want):
    assert format_date(form, MORNING) == want


def test_prefixes():
    values = {("Sky", "width"): 64, ("Sky", "name"): "a/b:c", ("Sky", "scale"): 2.0, ("Sky", "on"): True}
    told = fill_prefix("%date:yyyy%/%Sky.width%_%Sky.name%_%Sky.scale%_%Sky.on%_%no.thing%_%width%",
                       lambda *who: values.get(who), MORNING)  # fmt: skip
    assert told == "2026/64_a_b_c_2_true_%no.thing%_%width%"
