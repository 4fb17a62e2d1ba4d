"""Reads graphs: workflows as the editor saves them, or the API format, which `POST /prompt` takes.

Both also lie in the images, videos and latents that a host has saved.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..vae_core.errors import BadRequest
from ..vae_core.files import parse_json, read_json
from .editor import from_editor, is_workflow
from .embedded import holds_json, read_embedded
from .graph import Graph, GraphError, Node
from .limits import MOST_NODES


def load(path: str | os.PathLike[str], nodes: Mapping[str, type] | None = None) -> Graph:
    """Read a graph from a JSON file, see `parse`, or from a file that carries one. Raises GraphError.

    Of a file that carries both forms the graph that was run is taken, and the workflow is kept beside it.
    """
    try:
        return parse(_read_file(Path(path)), nodes)
    except BadRequest as error:
        raise _refusal(f"cannot read the graph: {error}") from error
    except ValueError as error:
        raise _refusal(f"'{path}' is not JSON: {error}") from error
    except GraphError as error:
        raise _refusal(f"'{path}': {error}") from error


def _read_file(path: Path) -> Any:
    """The JSON of a file, or the JSON that it carries, as the body of a request."""
    if holds_json(path):
        return read_json(path)
    texts = read_embedded(path)
    if not texts:
        raise _refusal("it is no JSON, and carries no workflow of ComfyUI")
    found = {name: parse_json(text) for name, text in texts.items()}
    if "prompt" not in found:
        return found["workflow"]
    return {
        "prompt": found["prompt"],
        "extra_data": {"extra_pnginfo": {n: v for n, v in found.items() if n != "prompt"}},
    }


def parse(obj: Any, nodes: Mapping[str, type] | None = None) -> Graph:
    """obj: {"<id>": {"class_type", "inputs", "_meta"}}, the body of POST /prompt around it, or an editor's workflow.

    nodes: class_type -> node class; only a workflow of the editor needs them. Raises GraphError.
    """
    pnginfo = None
    if _is_request(obj):
        pnginfo = _as_mapping(_as_mapping(obj.get("extra_data")).get("extra_pnginfo")) or None
        obj = obj["prompt"]
    if not isinstance(obj, dict):
        raise _refusal("a graph is a JSON object of nodes by their ids")
    if is_workflow(obj):
        if nodes is None:
            raise _refusal("this graph is in the format of the editor: say with which node classes it is to be read")
        return from_editor(obj, nodes)
    if len(obj) > MOST_NODES:
        raise _refusal(f"it has {len(obj)} nodes, and is not read: {MOST_NODES} are the most")
    return Graph({node_id: _read_node(node_id, entry) for node_id, entry in obj.items()}, pnginfo)


def _is_request(obj: Any) -> bool:
    # A node whose id is "prompt" has a class; the body of a request has not.
    return isinstance(obj, dict) and isinstance(obj.get("prompt"), dict) and "class_type" not in obj["prompt"]


def _read_node(node_id: str, entry: Any) -> Node:
    if not isinstance(entry, dict):
        raise _refusal(f"node {node_id} is not a JSON object with class_type and inputs")
    inputs = entry.get("inputs", {})
    if not isinstance(inputs, dict):
        raise _refusal(f"the inputs of node {node_id} are not a JSON object")
    title = _as_mapping(entry.get("_meta")).get("title")
    return Node(node_id, _as_text(entry.get("class_type")), inputs, _as_text(title))


def _refusal(sentence: str) -> GraphError:
    error = {"type": "invalid_prompt", "message": sentence, "details": "", "extra_info": {}}
    return GraphError(sentence, {"error": error, "node_errors": {}})


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""
