"""Node classes by their declarations alone: what a ComfyUI answers to GET /object_info.

Such a class is enough to read and to check workflows of nodes that are not here. It cannot run.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from ..vae_core.errors import VAEError
from .graph import GraphError

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
