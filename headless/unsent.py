"""Nodes of a file that the editor keeps for itself, and what they and bypassed ones pass on."""

from typing import Any

from .graph import GraphError
from .interface import types_match
from .scopes import PRIMITIVE, Json

NOTES = ("Note", "MarkdownNote")
REROUTES = ("Reroute", "Reroute (rgthree)")
SETTER, GETTER = "SetNode", "GetNode"  # of packs: a value gets a name, and is read by it elsewhere
# Nodes of packs that only change the editor: they name no class of a server.
PANELS = (
    "Fast Groups Bypasser (rgthree)",
    "Fast Groups Muter (rgthree)",
    "Fast Bypasser (rgthree)",
    "Fast Muter (rgthree)",
    "Fast Actions Button (rgthree)",
    "Mute / Bypass Relay (rgthree)",
    "Mute / Bypass Repeater (rgthree)",
    "Node Collector (rgthree)",
    "Random Unmuter (rgthree)",
    "Bookmark (rgthree)",
    "Label (rgthree)",
)
UNSENT = (*NOTES, *REROUTES, PRIMITIVE, SETTER, GETTER, *PANELS)


def find_passed_input(node: Json, slot: int, wanted: Any) -> Json | None:
    """The input that a bypassed node passes to this output: the one beside it, or the first whose type fits."""
    inputs, given = node.get("inputs") or [], node["outputs"][slot]["type"]
    beside = inputs[slot] if slot < len(inputs) else None
    if wanted == "*":
        return beside or next(iter(inputs), None)
    if beside and types_match(beside["type"], given) and types_match(beside["type"], wanted):
        return beside
    exact = [one for one in inputs if one["type"] == wanted]
    return next(iter(exact or [one for one in inputs if types_match(one["type"], wanted)]), None)


def is_group(node: Json) -> bool:
    return node["type"].startswith(("workflow>", "workflow/"))


def demand_no_group(node: Json) -> None:
    if is_group(node):
        raise GraphError(
            f"node {node['id']} ({node['type'][9:]}) is a group node, which is not read here: "
            "open the workflow in ComfyUI, which makes a subgraph of it, save it, and use that file"
        )
