"""What the editor does with the value of a widget between two runs, by the control that stands behind it.

As frontend 1.49.6 does it: numbers keep to the bounds and steps of their widget, choices to those of the combo that
pass the control's filter, and what the editor draws is exact as a number of JavaScript.
"""

import math
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from .inputs import Input

HOW = ("increment", "increment-wrap", "decrement", "randomize")  # all else, as "fixed", changes nothing
LARGEST = 2**50  # no number is drawn or counted beyond it
# Of widgets that declare none, in the editor.
UNBOUND: Mapping[str, Any] = {"min": 0, "max": 2048}
STEPS: Mapping[Any, float] = {"INT": 1, "FLOAT": 0.5}
OF_LINKS: Mapping[str, Any] = {"min": -math.inf, "max": math.inf, "step": 1}  # the same of a primitive
OF_NODES: Mapping[str, Any] = {"min": -(2**63), "max": 2**63, "step": 1}  # of PrimitiveInt, in the file's properties


class Control(NamedTuple):
    """How one value changes. whose: inputs that say the same here, and have the same value, get the same new one."""

    how: str
    input: Input
    filter: str = ""  # of choices
    whose: str = ""

    def change(self, value: Any) -> Any:
        """The value of the next run."""
        if self.input.choices is not None:
            return self._choose(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return value
        return self._round(self._count(value))

    def _choose(self, value: Any) -> Any:
        choices = [one for one in self.input.choices or () if isinstance(one, str)]
        left = list(filter(_make_filter(self.filter), choices))
        if not left:
            return value
        at = left.index(value) if value in left else -1
        if self.how == "randomize":
            return random.choice(left)
        at += -1 if self.how == "decrement" else 1
        if self.how == "increment-wrap" and at == len(left):
            at = 0
        return left[min(max(at, 0), len(left) - 1)]

    def _count(self, value: float) -> float:
        low, high, step = max(self._option("min"), -LARGEST), min(self._option("max"), LARGEST), self._step()
        if self.how == "randomize":
            value = math.floor(random.random() * (high - low) / step) * step + low
        else:
            value += -step if self.how == "decrement" else step
        return min(max(value, low), high)

    def _round(self, value: float) -> float:
        """As the widget rounds what it is given."""
        step = self._step()
        if self.input.type == "INT":
            low = self._option("min")
            rest = math.fmod(low, step) if math.isfinite(low) and step != 1 else 0
            return value if isinstance(value, int) and step == 1 else int(_round((value - rest) / step) * step + rest)
        digits = max(0, -math.floor(math.log10(step)))
        to = self.input.options.get("round") or (10**-digits if digits else 0)
        if not to:
            return value
        return min(max(round(_round(value / to) * to, digits), self._option("min")), self._option("max"))

    def _option(self, name: str) -> float:
        return _read_number(self.input, name, UNBOUND[name])

    def _step(self) -> float:
        usual = STEPS.get(self.input.type, 1)
        return abs(_read_number(self.input, "step", usual)) or usual


def read_control(one: Input, how: Any, filtered: Any = "", whose: str = "") -> Control | None:
    """The control behind a widget, if it changes anything. filtered: the text of its filter."""
    known = one.choices is not None or one.type in STEPS
    return Control(how, one, str(filtered or ""), whose) if known and how in HOW else None


def read_control_of_primitive(row: list[Any], targets: Iterable[Input], whose: str) -> Control | None:
    """The control of a node that gives the first value of its row to the widgets that it is linked to."""
    joined: Input | None = None
    for one in targets:
        joined = _join(joined or one, one)
    if joined is None or len(row) < 2 or joined.options.get("display", "number") != "number":
        return None
    return read_control(joined, row[1], row[2] if len(row) > 2 else "", whose)


def take_bounds(one: Input, properties: Mapping[str, Any]) -> Input:
    """The widget of a PrimitiveInt, whose bounds and step lie in the file."""
    given = {name: properties.get(name) for name in OF_NODES}
    told = {name: value for name, value in given.items() if value is not None}
    return replace(one, options={**one.options, **OF_NODES, **told})


def _join(one: Input, other: Input) -> Input:
    """The widget of a primitive that is linked to both: numbers and choices that both take, or those of the first."""
    if one.choices is not None and other.choices is not None:
        common = [choice for choice in one.choices if choice in other.choices]
        return replace(one, type="COMBO", options={**one.options, "options": common}) if common else one
    if one.type != other.type or one.type not in STEPS:
        return one
    low, high, step = ([_read_number(each, name, usual) for each in (one, other)] for name, usual in OF_LINKS.items())
    if max(low) > min(high):
        return one
    whole = all(isinstance(each, int) and each for each in step)
    joined = math.lcm(*map(int, step)) if whole else max(step)
    return replace(one, options={**one.options, "min": max(low), "max": min(high), "step": joined})


def _make_filter(text: str) -> Callable[[str], bool]:
    """A regular expression between slashes; all else is to be found in a choice, capital letters or not."""
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        try:
            pattern = re.compile(text[1:-1])
            return lambda choice: bool(pattern.search(choice))
        except re.error:
            pass
    return lambda choice: text.lower() in choice.lower()


def _read_number(one: Input, name: str, usual: float) -> float:
    value = one.options.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value == value else usual


def _round(value: float) -> int:
    """As JavaScript does: halves go up."""
    return math.floor(value + 0.5)
