"""Numbers of nodes: a file may give one number to nodes of several subgraphs, and the editor then gives new ones.

The workflow's own nodes keep theirs, then those of the subgraphs in the order of the file; the new ones count on from
the last number that the file says was given.
"""

from collections.abc import Mapping
from itertools import count
from typing import Any

from .scopes import Json, list_objects, list_proxies

Renamed = Mapping[Any, Mapping[Any, Any]]  # id of a subgraph -> old number -> new number


def renumber(workflow: Json, subgraphs: Mapping[Any, Json]) -> tuple[Json, Mapping[Any, Json]]:
    """The same workflow and subgraphs, no two nodes of one number."""
    renamed = _find_new(workflow, subgraphs)
    if not renamed:
        return workflow, subgraphs
    changed = {kind: _rename(one, renamed.get(kind, {}), renamed) for kind, one in subgraphs.items()}
    return {**workflow, "nodes": [_follow(node, renamed) for node in workflow["nodes"]]}, changed


def _find_new(workflow: Json, subgraphs: Mapping[Any, Json]) -> Renamed:
    taken = {node["id"] for node in list_objects(workflow["nodes"], "nodes")}
    states = (workflow, *subgraphs.values())
    given = [workflow.get("last_node_id"), *((one.get("state") or {}).get("lastNodeId") for one in states)]
    fresh = count(max((one for one in given if isinstance(one, int)), default=0) + 1)
    renamed: dict[Any, dict[Any, Any]] = {}
    for kind, subgraph in subgraphs.items():
        for node in list_objects(subgraph["nodes"], "nodes"):
            number = node["id"]
            if number in taken:
                number = next(one for one in fresh if one not in taken)
                renamed.setdefault(kind, {})[node["id"]] = number
            taken.add(number)
    return renamed


def _rename(subgraph: Json, new: Mapping[Any, Any], renamed: Renamed) -> Json:
    nodes = [_follow({**node, "id": new.get(node["id"], node["id"])}, renamed) for node in subgraph["nodes"]]
    links = [_relink(one, new) for one in subgraph.get("links") or ()]
    return {**subgraph, "nodes": nodes, "links": links}


def _relink(link: Any, new: Mapping[Any, Any]) -> Any:
    if isinstance(link, dict):
        ends = {end: new.get(link[end], link[end]) for end in ("origin_id", "target_id")}
        return {**link, **ends}
    return [new.get(one, one) if place in (1, 3) else one for place, one in enumerate(link)] if link else link


def _follow(node: Json, renamed: Renamed) -> Json:
    """A shell lists widgets of nodes inside, by their numbers."""
    new, properties = renamed.get(node.get("type")), node.get("properties") or {}
    if not new or not list_proxies(node):
        return node
    names = {str(old): str(number) for old, number in new.items()}
    proxies = [[names.get(str(one[0]), one[0]), *one[1:]] for one in list_proxies(node)]
    return {**node, "properties": {**properties, "proxyWidgets": proxies}}
