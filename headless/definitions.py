"""Node classes by their declarations alone: what a ComfyUI answers to GET /object_info.

Such a class is enough to read and to check workflows of nodes that are not here. It cannot run.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from ..vae_core.errors import BadRequest, VAEError
from ..vae_core.files import demand_file
from .graph import GraphError
from .limits import LARGEST_DEFINITIONS

Json = Mapping[str, Any]


class Declared:
    """A node class of which only the declaration is known."""

    declaration: ClassVar[Json]
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> Mapping[str, Any]:
        return cls.declaration["input"]

    def run(self, **inputs: Any) -> NoReturn:
        """Raises VAEError: its code is in a ComfyUI elsewhere."""
        raise VAEError("only its declaration is known here, so it can be checked and not run")


def read_definitions(obj: Any) -> dict[str, type[Declared]]:
    """obj: the answer of GET /object_info, or of /object_info/<class>. -> class_type -> class. Raises GraphError."""
    if not isinstance(obj, dict) or not all(isinstance(one, dict) and "input" in one for one in obj.values()):
        raise GraphError("these are no definitions of nodes: give what GET /object_info of a ComfyUI answers")
    return {name: _make_class(name, declaration) for name, declaration in obj.items()}


def load_definitions(path: str | os.PathLike[str]) -> dict[str, type[Declared]]:
    """From a file with the answer of GET /object_info. Raises GraphError."""
    try:
        with demand_file(Path(path)).open("rb") as file:
            return parse_definitions(file.read(LARGEST_DEFINITIONS + 1))
    except (BadRequest, OSError, GraphError) as error:
        raise GraphError(f"the definitions of nodes in '{path}' cannot be read: {error}") from error


def parse_definitions(content: bytes) -> dict[str, type[Declared]]:
    """content: JSON as a server sends it, one byte more than the largest at most. Raises GraphError."""
    if len(content) > LARGEST_DEFINITIONS:
        raise GraphError(f"they are larger than {LARGEST_DEFINITIONS // 2**20} MiB")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise GraphError(f"they are no JSON ({error})") from error
    return read_definitions(found)


def _make_class(name: str, declaration: Json) -> type[Declared]:
    kinds = declaration["input"]
    if not isinstance(kinds, dict) or not all(isinstance(one, dict) for one in kinds.values()):
        raise GraphError(f"the definition of the class '{name}' does not say what it takes")
    return type(
        name,
        (Declared,),
        {
            "declaration": {**declaration, "input": {kind: _order(kind, declaration) for kind in kinds}},
            "RETURN_TYPES": tuple(declaration.get("output") or ()),
            "OUTPUT_IS_LIST": tuple(declaration.get("output_is_list") or ()),
            "OUTPUT_NODE": bool(declaration.get("output_node")),
            "INPUT_IS_LIST": bool(declaration.get("is_input_list")),
        },
    )


def _order(kind: str, declaration: Json) -> Json:
    """The inputs of this kind, in the order that the definition gives; programs that rewrite JSON may sort it."""
    inputs = declaration["input"][kind]
    if kind == "hidden":
        return {name: one[0] if isinstance(one, list) else one for name, one in inputs.items()}
    order = [name for name in (declaration.get("input_order") or {}).get(kind, ()) if name in inputs]
    return {name: inputs[name] for name in (*order, *inputs)}
