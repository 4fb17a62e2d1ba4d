"""From a list of nodes to a workflow as the editor saves it (version 0.4)."""

import uuid
from dataclasses import dataclass, field
from typing import Any

from exact_vae import NODE_CLASS_MAPPINGS, headless

CORE = headless.core_nodes("input", "output", "temp", {})
VERSION = "0.1.0"
LEFT, TOP, GAP, WIDTH, TITLE, SLOT, WIDGET = 40, 80, 60, 300, 30, 22, 26  # pixels, as the editor draws them
HEIGHTS = {"PreviewImage": 300, "SaveImage": 340}
TEXT = {
    "ExactVAECompare": 440,
    "ExactVAEDoctor": 260,
    "ExactEncodeFolder": 360,
    "ExactLatentInspect": 360,
    "ExactVAEEncodeForInpaint": 270,
    "ExactVAEDecodeOntoOriginal": 270,
    "ExactVAEEncodeVideoFile": 200,
}  # room for what a node of ours says when it has run
SENTENCE = 60
MUTED = 2  # a node's mode, as the editor saves it
SILENT = ("ExactExampleImage", "ExactLatentInterpolate")


@dataclass(frozen=True)
class Model:
    """A core node that runs a diffusion model: what the headless runner has no class for."""

    inputs: dict[str, tuple[str, Any]]  # name -> type, default; None for a socket
    outputs: tuple[tuple[str, str], ...]  # name, type


MODELS = {
    "CheckpointLoaderSimple": Model(
        {"ckpt_name": ("COMBO", "v1-5-pruned-emaonly-fp16.safetensors")},
        (("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE")),
    ),
    "CLIPTextEncode": Model(
        {"clip": ("CLIP", None), "text": ("STRING", "")},
        (("CONDITIONING", "CONDITIONING"),),
    ),
    "KSampler": Model(
        {
            "model": ("MODEL", None),
            "positive": ("CONDITIONING", None),
            "negative": ("CONDITIONING", None),
            "latent_image": ("LATENT", None),
            "seed": ("INT", 0),
            "steps": ("INT", 20),
            "cfg": ("FLOAT", 7.0),
            "sampler_name": ("COMBO", "dpmpp_2m"),
            "scheduler": ("COMBO", "karras"),
            "denoise": ("FLOAT", 1.0),
        },
        (("LATENT", "LATENT"),),
    ),
}


@dataclass(frozen=True)
class Box:
    """A node. inputs: values of widgets, and (name of a node, output) for links; what is not given is the default."""

    name: str
    kind: str
    column: int
    inputs: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    width: int = WIDTH
    room: int = 0  # height, if it is not the one of its kind
    mode: int = 0  # MUTED: it does not run


@dataclass(frozen=True)
class Recipe:
    note: str  # Markdown; its first line is the title
    boxes: list[Box]
    thumbnail: list[str]  # names of the nodes whose images it is made of


def in_editor_format(name: str, recipe: Recipe) -> dict[str, Any]:
    nodes, wires = draw_nodes(recipe)
    last = len(recipe.boxes) + 1
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"exact-vae/{name}")),
        "revision": 0,
        "last_node_id": last,
        "last_link_id": len(wires),
        "nodes": [*nodes, _note(recipe, last, nodes)],
        "links": wires,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def draw_nodes(recipe: Recipe) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """The nodes, without the note, and the links between them."""
    ids, wires = numbers(recipe), _wires(recipe)
    nodes = [_node(box, order, ids, wires) for order, box in enumerate(recipe.boxes)]
    _place(recipe, nodes)
    return nodes, wires


def numbers(recipe: Recipe) -> dict[str, int]:
    return {box.name: i + 1 for i, box in enumerate(recipe.boxes)}


def list_inputs(kind: str) -> dict[str, tuple[str, Any]]:
    """Each input: its type, and its default, None for a socket."""
    if kind in MODELS:
        return MODELS[kind].inputs
    types = {**NODE_CLASS_MAPPINGS, **CORE}[kind].INPUT_TYPES()
    return {name: _read_declared(*one) for name, one in {**types["required"], **types.get("optional", {})}.items()}


def _read_declared(kind: Any, options: dict[str, Any] | None = None) -> tuple[str, Any]:
    if isinstance(kind, list):
        return "COMBO", (options or {}).get("default", kind[0] if kind else "")
    return kind, (options or {}).get("default")


def values(box: Box) -> dict[str, Any]:
    """Every input, in order: given, or its default. Raises KeyError for one that the node has not."""
    known = list_inputs(box.kind)
    for name in box.inputs:
        known[name]
    return {name: box.inputs.get(name, default) for name, (_, default) in known.items()}


def list_outputs(kind: str) -> list[tuple[str, str]]:
    if kind in MODELS:
        return list(MODELS[kind].outputs)
    cls = {**NODE_CLASS_MAPPINGS, **CORE}[kind]
    return list(zip(getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES), cls.RETURN_TYPES, strict=True))


def _sockets(kind: str) -> dict[str, str]:
    return {name: type_ for name, (type_, default) in list_inputs(kind).items() if default is None}


def _wires(recipe: Recipe) -> list[list[Any]]:
    """[number, from, output, to, input, type]"""
    ids, wires = numbers(recipe), []
    for box in recipe.boxes:
        for slot, (name, kind) in enumerate(_sockets(box.kind).items()):
            if name in box.inputs:
                source, output = box.inputs[name]
                wires.append([len(wires) + 1, ids[source], output, ids[box.name], slot, kind])
    return wires


def _node(box: Box, order: int, ids: dict[str, int], wires: list[list[Any]]) -> dict[str, Any]:
    me, widgets = ids[box.name], {n: v for n, v in values(box).items() if n not in _sockets(box.kind)}
    into = {wire[4]: wire[0] for wire in wires if wire[3] == me}
    named = [{"name": n, "type": t, "link": into.get(i)} for i, (n, t) in enumerate(_sockets(box.kind).items())]
    out = [
        {"name": n, "type": t, "links": [wire[0] for wire in wires if wire[1:3] == [me, i]]}
        for i, (n, t) in enumerate(list_outputs(box.kind))
    ]
    ours = {"cnr_id": "exact-vae", "ver": VERSION} if box.kind in NODE_CLASS_MAPPINGS else {"cnr_id": "comfy-core"}
    return {
        "id": me,
        "type": box.kind,
        **({"title": box.title} if box.title else {}),
        "size": [box.width, box.room or _height(box.kind)],
        "flags": {},
        "order": order,
        "mode": box.mode,
        "inputs": named,
        "outputs": out,
        "properties": {"Node name for S&R": box.kind, **ours},
        "widgets_values": _positional(box.kind, widgets),
        "widgets_values_named": widgets,
    }


def _positional(kind: str, widgets: dict[str, Any]) -> list[Any]:
    """As the editor keeps them: behind a seed what it does after a run, at the end the button that uploads a file."""
    placed = [one for name, value in widgets.items() for one in (value, *["fixed"] * _is_controlled(kind, name))]
    return placed + ["image" for name in widgets if _uploads(kind, name)]


def _is_controlled(kind: str, name: str) -> bool:
    return name == "seed" if kind in MODELS else bool(_read_options(kind, name).get("control_after_generate"))


def _uploads(kind: str, name: str) -> bool:
    options = {} if kind in MODELS else _read_options(kind, name)
    return any(options.get(one) for one in ("image_upload", "video_upload"))


def _read_options(kind: str, name: str) -> dict[str, Any]:
    types = {**NODE_CLASS_MAPPINGS, **CORE}[kind].INPUT_TYPES()
    return {**types["required"], **types.get("optional", {})}[name][1]


def _height(kind: str) -> int:
    if kind in HEIGHTS:
        return HEIGHTS[kind]
    sockets = _sockets(kind)
    rows = max(len(sockets), len(list_outputs(kind)))
    shown = [name for name in list_inputs(kind) if name not in sockets]
    widgets = sum(1 + _is_controlled(kind, name) + _uploads(kind, name) for name in shown)
    speaks = kind in NODE_CLASS_MAPPINGS and kind not in SILENT
    said = TEXT.get(kind, SENTENCE) if speaks else 0
    return SLOT * rows + WIDGET * widgets + WIDGET + said


def _place(recipe: Recipe, nodes: list[dict[str, Any]]) -> None:
    """Columns from left to right, in each the nodes from the top in the order of the recipe."""
    lefts, bottoms = _lefts(recipe), dict[int, int]()
    for box, node in zip(recipe.boxes, nodes, strict=True):
        top = bottoms.get(box.column, TOP)
        node["pos"] = [lefts[box.column], top]
        bottoms[box.column] = top + node["size"][1] + TITLE + GAP


def _lefts(recipe: Recipe) -> list[int]:
    lefts = [LEFT]
    for column in range(max(box.column for box in recipe.boxes) + 1):
        lefts.append(lefts[-1] + GAP + max(box.width for box in recipe.boxes if box.column == column))
    return lefts


def _note(recipe: Recipe, number: int, nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """Below the first column, or below the first two if they are about as high."""
    lefts = _lefts(recipe)
    bottoms = [max(_bottom(n) for n in nodes if n["pos"][0] == left) for left in lefts[:2]]
    both = bottoms[1] < bottoms[0] + GAP * 4
    top = max(bottoms[: 1 + both]) + TITLE + GAP
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [LEFT, top],
        "size": [lefts[1 + both] - GAP - LEFT, 140 if both else 260],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "Read me",
        "properties": {},
        "widgets_values": [recipe.note],
        "color": "#432",
        "bgcolor": "#653",
    }


def _bottom(node: dict[str, Any]) -> int:
    return node["pos"][1] + node["size"][1]
