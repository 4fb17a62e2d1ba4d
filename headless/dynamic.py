"""Inputs that a node has only for some values of others, as V3 classes declare them.

A dynamic combo brings the inputs of its choice, `mode` and then `mode.size`; an autogrow is a row of inputs with the
same type, `images.image0`, `images.image1`; a match type is any of a list of types.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from .inputs import Input, read_inputs

COMBO, AUTOGROW, MATCH = "COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3", "COMFY_MATCHTYPE_V3"
TYPES = (COMBO, AUTOGROW)  # that bring others
MOST_GROWN = 100  # inputs of one autogrow: what the host allows


def expand(inputs: Iterable[Input], given: Mapping[str, Any]) -> Iterator[Input]:
    """The inputs that a node has whose values are these, in the order of its declaration. given: name -> value."""
    for one in inputs:
        if one.type == AUTOGROW:
            yield from expand(list_grown(one), given)
        elif one.type == COMBO:
            yield one
            yield from expand(list_chosen(one, given.get(one.name)), given)
        else:
            yield one


def list_keys(one: Input) -> list[str]:
    """The choices of a dynamic combo."""
    return [option["key"] for option in one.options.get("options") or ()]


def list_chosen(one: Input, key: Any) -> list[Input]:
    """The inputs that this choice of a dynamic combo brings; none for a choice that it does not have.

    They are required even if the combo itself is not. A combo among them may be missing: the host does not look for it.
    """
    for option in one.options.get("options") or ():
        if option["key"] == key:
            found = read_inputs(option.get("inputs") or {}, f"{one.name}.")
            return [replace(inner, required=False) if inner.type == COMBO else inner for inner in found]
    return []


def list_grown(one: Input) -> list[Input]:
    """All inputs that an autogrow may have; the first `min` of them are required."""
    template = one.options.get("template") or {}
    (plain,) = read_inputs(template.get("input") or {}, "", True)[:1] or [None]
    if plain is None:
        return []
    numbered = (f"{template.get('prefix', '')}{i}" for i in range(min(template.get("max", MOST_GROWN), MOST_GROWN)))
    names = list(template.get("names") or numbered)
    least = template.get("min", 0) if one.required else 0
    return [Input(f"{one.name}.{name}", plain.type, plain.options, i < least) for i, name in enumerate(names)]


def nest(given: Mapping[str, Any]) -> dict[str, Any]:
    """name -> value, as a node gets them, -> with inputs that others bring in a dict under the name of those.

    {"mode": "by size", "mode.size": 3} -> {"mode": {"mode": "by size", "size": 3}}; an autogrow has no value itself.
    """
    plain = {name: value for name, value in given.items() if "." not in name}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        head, _, rest = name.partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = value
    brought = {head: ({head: plain[head]} if head in plain else {}) | nest(values) for head, values in inner.items()}
    return plain | brought


def nest_as_declared(given: Mapping[str, Any], inputs: Iterable[Input]) -> dict[str, Any]:
    """As `nest`, by what the inputs of the node are: the value of a dynamic combo lies in a dict of its own, too.

    inputs: with those that others bring. {"mode": "by size"} -> {"mode": {"mode": "by size"}}
    """
    combos = {one.name for one in inputs if one.type == COMBO}
    paths = {name: [*name.split("."), *([name.rpartition(".")[2]] if name in combos else [])] for name in given}
    made: dict[str, Any] = {}
    for name, value in given.items():
        *heads, last = paths[name]
        at = made
        for head in heads:
            at = at.setdefault(head, {})
        at[last] = value
    return made
