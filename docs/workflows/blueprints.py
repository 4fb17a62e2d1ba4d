"""Blueprints: nodes in one node, which ComfyUI lists among its own (subgraphs/*.json of a pack)."""

import uuid
from dataclasses import dataclass
from typing import Any

from drawing import Box, Recipe, draw_nodes, numbers

INTO, OUT = -10, -20  # ids of the two ends of a subgraph
SIZE = (320, 260)


@dataclass(frozen=True)
class Blueprint:
    """inputs: name -> type, and the (node, input) that it goes to; outputs: name -> type, node, output.

    promoted  (node, widget) that the outer node shows
    """

    category: str
    description: str
    boxes: list[Box]
    inputs: dict[str, tuple[str, list[tuple[str, str]]]]
    outputs: dict[str, tuple[str, str, int]]
    promoted: list[tuple[str, str]]


def as_blueprint(name: str, one: Blueprint) -> dict[str, Any]:
    """As the editor saves a workflow of this one node."""
    recipe = Recipe("", one.boxes, [])
    (nodes, wires), ids, kind = draw_nodes(recipe), numbers(recipe), _make_id(name)
    links = [dict(zip(LINK, wire, strict=True)) for wire in wires]
    entries = [_enter(name, i, said, nodes, ids, links) for i, said in enumerate(one.inputs.items())]
    exits = [_leave(name, i, said, nodes, ids, links) for i, said in enumerate(one.outputs.items())]
    shown = [[str(ids[box]), widget] for box, widget in one.promoted]
    definition = {
        "id": kind,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": len(nodes), "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": name,
        "inputNode": {"id": INTO, "bounding": [-240, 80, 160, 40 + 20 * len(entries)]},
        "outputNode": {"id": OUT, "bounding": [_find_right(nodes), 80, 160, 40 + 20 * len(exits)]},
        "inputs": entries,
        "outputs": exits,
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": links,
        "extra": {},
        "category": one.category,
        "description": one.description,
    }
    return {
        "id": _make_id(f"{name}/workflow"),
        "revision": 0,
        "last_node_id": len(nodes) + 1,
        "last_link_id": 0,
        "nodes": [_draw_outer(name, kind, one, shown)],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [definition]},
        "extra": {},
    }


LINK = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")


def _make_id(of: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"exact-vae/subgraphs/{of}"))


def _find_right(nodes: list[dict[str, Any]]) -> int:
    return max(node["pos"][0] + node["size"][0] for node in nodes) + 80


def _enter(name: str, i: int, said: Any, nodes: Any, ids: Any, links: Any) -> dict[str, Any]:
    """An input of the subgraph, linked to the inputs of nodes that it goes to."""
    (label, (kind, targets)), made = said, []
    for box, socket in targets:
        node = nodes[ids[box] - 1]
        slot = [one["name"] for one in node["inputs"]].index(socket)
        made.append(len(links) + 1)
        node["inputs"][slot]["link"] = made[-1]
        links.append(dict(zip(LINK, (made[-1], INTO, i, node["id"], slot, kind), strict=True)))
    return {
        "id": _make_id(f"{name}/in/{label}"),
        "name": label,
        "type": kind,
        "linkIds": made,
        "pos": [-100, 100 + 20 * i],
    }


def _leave(name: str, i: int, said: Any, nodes: Any, ids: Any, links: Any) -> dict[str, Any]:
    """An output of the subgraph, linked to the output of a node."""
    label, (kind, box, output) = said
    node, number = nodes[ids[box] - 1], len(links) + 1
    node["outputs"][output]["links"].append(number)
    links.append(dict(zip(LINK, (number, node["id"], output, OUT, i, kind), strict=True)))
    where = [_find_right(nodes) + 20, 100 + 20 * i]
    return {"id": _make_id(f"{name}/out/{label}"), "name": label, "type": kind, "linkIds": [number], "pos": where}


def _draw_outer(name: str, kind: str, one: Blueprint, shown: list[list[str]]) -> dict[str, Any]:
    return {
        "id": len(one.boxes) + 1,  # another than those inside
        "type": kind,
        "pos": [200, 200],
        "size": list(SIZE),
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": label, "type": type_, "link": None} for label, (type_, _) in one.inputs.items()],
        "outputs": [{"name": label, "type": type_, "links": []} for label, (type_, _, _) in one.outputs.items()],
        "properties": {"proxyWidgets": shown, "cnr_id": "exact-vae"},
        "widgets_values": [],
        "title": name,
    }


SAMPLER = {"seed": 0, "steps": 20, "cfg": 7.0}
SAMPLED = {
    "model": ("MODEL", [("sampler", "model")]),
    "positive": ("CONDITIONING", [("sampler", "positive")]),
    "negative": ("CONDITIONING", [("sampler", "negative")]),
}
TUNED = [("sampler", widget) for widget in ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")]

BLUEPRINTS = {
    "Inpaint and keep the original (Exact VAE)": Blueprint(
        "Exact VAE",
        "Inpaints under a mask with any model, and decodes onto the original: all outside the mask stays bit for bit.",
        [
            Box("hole", "ExactVAEEncodeForInpaint", 0),
            Box("sampler", "KSampler", 1, {"latent_image": ("hole", 0), **SAMPLER}),
            Box("onto", "ExactVAEDecodeOntoOriginal", 2, {"samples": ("sampler", 0)}),
        ],
        {
            "image": ("IMAGE", [("hole", "pixels"), ("onto", "image")]),
            "mask": ("MASK", [("hole", "mask"), ("onto", "mask")]),
            "vae": ("VAE", [("hole", "vae"), ("onto", "vae")]),
            **SAMPLED,
        },
        {"IMAGE": ("IMAGE", "onto", 0), "LATENT": ("LATENT", "sampler", 0)},
        [*TUNED, ("onto", "feather"), ("onto", "match_colour")],
    ),
    "Image to image of any size (Exact VAE)": Blueprint(
        "Exact VAE",
        "Encodes an image of any size, samples and decodes: the result has just the size of the image.",
        [
            Box("encode", "ExactVAEEncode", 0),
            Box("sampler", "KSampler", 1, {"latent_image": ("encode", 0), **SAMPLER, "denoise": 0.6}),
            Box("decode", "ExactVAEDecode", 2, {"samples": ("sampler", 0)}),
        ],
        {"image": ("IMAGE", [("encode", "pixels")]), "vae": ("VAE", [("encode", "vae"), ("decode", "vae")]), **SAMPLED},
        {"IMAGE": ("IMAGE", "decode", 0), "LATENT": ("LATENT", "sampler", 0)},
        TUNED,
    ),
    "Round-trip report (Exact VAE)": Blueprint(
        "Exact VAE",
        "Encodes and decodes an image and measures what is lost: figures, both images side by side, and a heat map.",
        [Box("compare", "ExactVAECompare", 0, width=420, room=420)],
        {"image": ("IMAGE", [("compare", "image")]), "vae": ("VAE", [("compare", "vae")])},
        {
            "report": ("STRING", "compare", 0),
            "side_by_side": ("IMAGE", "compare", 1),
            "heat_map": ("IMAGE", "compare", 2),
        },
        [("compare", "mode"), ("compare", "white")],
    ),
}
