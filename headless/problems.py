"""What validation finds: the host's JSON for programs, and a sentence for people.

A problem is {"type", "message", "details", "extra_info"} in the words of the host, so that tools that read the host's
answers can read ours.
"""

import traceback
from typing import Any

import torch

from ..vae_core.errors import some
from .graph import Graph, Node
from .inputs import Input

Problem = dict[str, Any]


def problem(kind: str, message: str, details: str = "", **extra_info: Any) -> Problem:
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def input_problem(kind: str, message: str, one: Input, details: str = "", **extra_info: Any) -> Problem:
    """A problem with one declared input; its details begin with the name."""
    return problem(kind, message, details or one.name, input_name=one.name, input_config=one.config, **extra_info)


def exception_problem(error: BaseException, inner: bool, **extra_info: Any) -> Problem:
    """An exception while a node was checked. inner: the node is no output node, for which the host has another type."""
    lines = traceback.format_tb(error.__traceback__)
    return text_problem(str(error), type(error).__name__, inner, traceback=lines, **extra_info)


def text_problem(details: str, exception_type: str, inner: bool, **extra_info: Any) -> Problem:
    kind = "exception_during_inner_validation" if inner else "exception_during_validation"
    message = f"Exception when validating {'inner ' if inner else ''}node"
    return problem(
        kind,
        message,
        details,
        exception_message=details,
        exception_type=exception_type,
        **{"traceback": [], **extra_info},
    )


def missing_class(node: Node, nearest: list[str]) -> Problem:
    """A node whose class is not registered, or that names no class."""
    if node.class_type:
        message = f"Node '{node.title or node.class_type}' not found. The custom node may not be installed."
    else:
        message = (
            f"Node '{node.title or f'ID #{node.id}'}' has no class_type. "
            "The workflow may be corrupted or a custom node is missing."
        )
    return problem(
        "missing_node_type",
        message,
        f"Node ID '#{node.id}'",
        node_id=node.id,
        class_type=node.class_type or None,
        node_title=node.title or node.class_type,
        nearest=nearest,
    )


def sentence(found: Problem, node: Node, graph: Graph) -> str:
    """Which node, which input, what was given, what is allowed."""
    info = found["extra_info"]
    name = info.get("input_name")
    # VALIDATE_INPUTS answers for all its arguments at once, so no single input is named.
    of_input = f", input {name}" if name and found["type"] != "custom_validation_failed" else ""
    return f"{node}{of_input}: {_say_what(found, info, graph)}"


def describe_value(value: Any) -> str:
    """A value in a few words, for records of a node's inputs."""
    if isinstance(value, torch.Tensor):
        return f"tensor {tuple(value.shape)} {value.dtype}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {describe_value(one)}" for name, one in value.items()) + "}"
    return _shorten(value)


def _say_what(found: Problem, info: dict[str, Any], graph: Graph) -> str:
    kind, config = found["type"], info.get("input_config", [None, {}])
    given = f"{_shorten(info.get('received_value'))} is given"
    if kind == "missing_node_type":
        return _say_no_class(info)
    if kind == "required_input_missing":
        return f"nothing is given; {_say_needed(config[0])} is needed{_suggest(info, 'the file gives')}"
    if kind == "bad_linked_input":
        return f'{given}; a link is a node id and the number of an output, as ["4", 0]'
    if kind == "return_type_mismatch":
        source, slot = info["linked_node"]
        received, needed = _with_article(info["received_type"]), _say_needed(config[0])
        return f"output {slot} of {graph.nodes[source]} is {received}; {needed} is needed"
    if kind == "invalid_input_type":
        return f"{given}; {_say_needed(config[0])} is needed"
    if kind == "value_smaller_than_min":
        return f"{given}; the smallest allowed is {config[1]['min']}"
    if kind == "value_bigger_than_max":
        return f"{given}; the largest allowed is {config[1]['max']}"
    if kind == "value_not_in_list":
        return f"{given}; {_say_allowed(config)}{_suggest(info, 'nearest is')}"
    if kind == "custom_validation_failed":
        return info.get("said") or "its own check refuses what it is given"
    failed = f"its own check fails: {info['exception_type']}: " if info.get("traceback") else ""
    return info.get("said") or failed + found["details"]


def _say_no_class(info: dict[str, Any]) -> str:
    if not info["class_type"]:
        return "the file does not say which class this node is (class_type)"
    near = " or ".join(info["nearest"])
    return f"there is no node class '{info['class_type']}' here" + (f"; nearest is {near}" if near else "")


def _suggest(info: dict[str, Any], words: str) -> str:
    return f"; {words} '{info['nearest']}'" if "nearest" in info else ""


def _say_allowed(config: list[Any]) -> str:
    kind, options = config
    choices = kind if isinstance(kind, list | tuple) else options.get("options", ())
    return f"allowed are {some([repr(one) for one in choices], 6)}" if choices else "there is nothing to choose from"


def _say_needed(kind: Any) -> str:
    return _with_article(kind) if isinstance(kind, str) and kind != "COMBO" else "one choice of its list"


def _with_article(kind: Any) -> str:
    name = kind if isinstance(kind, str) else "COMBO"
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
