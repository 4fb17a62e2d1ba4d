"""What a node class declares: its inputs, outputs and flags."""

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
        hidden = types.get("hidden") or {}
        return cls(node_class, inputs, {name: _first(kind) for name, kind in hidden.items()})

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
        if self.validator is None:
            return False
        parameters = inspect.signature(self.validator).parameters
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
    def is_third(self) -> bool:
        """Is it of the host's third version? Then its methods are those of the class, where hidden values lie."""
        return hasattr(self.cls, "PREPARE_CLASS_CLONE")

    @property
    def fingerprint(self) -> Any:
        """The method that says whether a node has changed since, or None."""
        return self._find_own("fingerprint_inputs", "IS_CHANGED")

    @property
    def validator(self) -> Any:
        """The method that checks values, or None."""
        return self._find_own("validate_inputs", "VALIDATE_INPUTS")

    def _find_own(self, third: str, first: str) -> Any:
        """A method by its name in V3 classes, whose base class has it, too, and there it only raises; or in V1 ones."""
        own = [one for one in self.cls.__mro__ if not one.__module__.startswith("comfy_api.")]
        if self.is_third and any(third in vars(one) for one in own):
            return getattr(self.cls, third)
        return getattr(self.cls, first, None)

    def bind(self, method: Any, node: Node) -> Any:
        """The method as it is called: those of V3 classes get inputs that bring others in dicts."""
        if not self.is_third:
            return method
        inputs = self.inputs_of(node)
        return lambda **given: method(**dynamic.nest_as_declared(given, inputs))

    def lock(self, hidden: Mapping[str, Any]) -> Any:
        """A V3 class with its hidden values. hidden: as `hidden_values` gives them."""
        told = {self.hidden[name]: value for name, value in hidden.items()}
        return self.cls.PREPARE_CLASS_CLONE({"hidden_inputs": told})

    @property
    def may_look_around(self) -> bool:
        """May it put nodes that it does not read itself into what it expands into?"""
        return "DYNPROMPT" in self.hidden.values() or any(one.raw for one in self.inputs)


def types_match(received: Any, wanted: Any) -> bool:
    """Equal, "*", matched at both ends, or lists by commas with something in common.

    Any list of choices fits a COMBO; one that is declared as a list takes only the same list.
    """
    if isinstance(wanted, list | tuple) and received not in ("*", dynamic.MATCH):
        return not received != wanted  # noqa: SIM202
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


def _first(kind: Any) -> Any:
    """V3 classes declare the kind of a hidden value in a tuple."""
    return kind[0] if isinstance(kind, list | tuple) else kind


def _type_name(declared: Any) -> str:
    return "COMBO" if isinstance(declared, list | tuple) else declared


def _names(declared: str) -> set[str]:
    return {name.strip() for name in str(declared).split(",")}
