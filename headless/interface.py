"""What a V1 node class declares: its inputs, outputs and flags."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from . import dynamic
from .graph import Graph, GraphError, Node, link
from .inputs import Input, read_inputs


@dataclass(frozen=True)
class Interface:
    cls: Any
    inputs: tuple[Input, ...]
    hidden: Mapping[str, str]  # argument -> "PROMPT", "UNIQUE_ID", "EXTRA_PNGINFO"

    @classmethod
    def of(cls, node_class: Any) -> "Interface":
        """Raises GraphError if the class cannot say what it takes."""
        try:
            types = node_class.INPUT_TYPES()
            inputs = tuple(read_inputs(types))
        except Exception as error:
            sentence = f"INPUT_TYPES of {node_class.__name__} fails: {type(error).__name__}: {error}"
            raise GraphError(sentence) from error
        return cls(node_class, inputs, types.get("hidden", {}))

    @property
    def returns(self) -> tuple[Any, ...]:
        return tuple(getattr(self.cls, "RETURN_TYPES", ()))

    @property
    def is_output(self) -> bool:
        return bool(getattr(self.cls, "OUTPUT_NODE", False))

    @property
    def takes_lists(self) -> bool:
        return bool(getattr(self.cls, "INPUT_IS_LIST", False))

    @property
    def runs_alone(self) -> bool:
        """Must each such node run, even if another has the same inputs?"""
        return "UNIQUE_ID" in self.hidden.values() or bool(getattr(self.cls, "NOT_IDEMPOTENT", False))

    def gives_list(self, slot: int) -> bool:
        lists = getattr(self.cls, "OUTPUT_IS_LIST", ())
        return slot < len(lists) and bool(lists[slot])

    def validates(self, name: str) -> bool:
        """Whether VALIDATE_INPUTS answers for this argument, so that nobody else checks its range."""
        validator = getattr(self.cls, "VALIDATE_INPUTS", None)
        if validator is None:
            return False
        parameters = inspect.signature(validator).parameters
        takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
        # **kwargs does not ask for the types of links: VALIDATE_INPUTS must name that parameter.
        return name in parameters or (takes_all and name != "input_types")

    def inputs_of(self, node: Node) -> tuple[Input, ...]:
        """The inputs that this node has: those declared, with those that its dynamic inputs bring."""
        return tuple(dynamic.expand(self.inputs, node.inputs)) if self.is_dynamic else self.inputs

    @cached_property
    def is_dynamic(self) -> bool:
        return any(isinstance(one.type, str) and one.type in dynamic.TYPES for one in self.inputs)

    def list_given(self, node: Node) -> list[Input]:
        """The declared inputs that the graph gives; others in the file are ignored, as in the host."""
        return [one for one in self.inputs_of(node) if one.name in node.inputs]

    def links(self, node: Node) -> dict[str, tuple[str, int]]:
        """Input name -> (node id, slot), of declared inputs."""
        found = {one.name: link(node.inputs[one.name]) for one in self.list_given(node)}
        return {name: source for name, source in found.items() if source}

    def hidden_values(self, node: Node, graph: Graph, growing: Any = None) -> dict[str, Any]:
        """growing: the graph with what nodes have expanded into, for those that ask for it."""
        given = {"DYNPROMPT": growing}
        return {name: given.get(kind) or _hidden_value(kind, node, graph) for name, kind in self.hidden.items()}

    @property
    def fingerprint(self) -> Any:
        """The method that says whether a node has changed since: fingerprint_inputs of V3 classes, or IS_CHANGED."""
        for name in ("fingerprint_inputs", "IS_CHANGED"):
            # The base class of V3 has the first, too, and there it only raises.
            own = (one for one in self.cls.__mro__ if not one.__module__.startswith("comfy_api."))
            if any(name in vars(one) for one in own):
                return getattr(self.cls, name)
        return None

    @property
    def may_look_around(self) -> bool:
        """May it put nodes that it does not read itself into what it expands into?"""
        return "DYNPROMPT" in self.hidden.values() or any(one.raw for one in self.inputs)


def types_match(received: Any, wanted: Any) -> bool:
    """Equal, "*", matched at both ends, or lists by commas with something in common. All combos are one type."""
    received, wanted = _type_name(received), _type_name(wanted)
    if dynamic.MATCH in (received, wanted):
        return True
    # Packs make an "any" type as a str whose != is always False, so it must be asked, and not ==.
    if "*" in (received, wanted) or not received != wanted:  # noqa: SIM202
        return True
    return not _names(received).isdisjoint(_names(wanted))


def _hidden_value(kind: str, node: Node, graph: Graph) -> Any:
    if kind == "UNIQUE_ID":
        return node.id
    if not graph.embedded:
        return None
    return {"PROMPT": graph.prompt, "EXTRA_PNGINFO": graph.pnginfo}.get(kind)


def _type_name(declared: Any) -> str:
    return "COMBO" if isinstance(declared, list | tuple) else declared


def _names(declared: str) -> set[str]:
    return {name.strip() for name in str(declared).split(",")}
