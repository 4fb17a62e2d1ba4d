"""The widgets of a node: which names the values have that the editor saves in a row.

The row follows the class's declaration, with additions: a control behind a seed, a button behind an upload, the inputs
of a dynamic combo's choice, and widgets that the editor's own scripts make for some classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from . import dynamic
from .controls import Control, read_control, take_bounds
from .inputs import Input

VALUES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", dynamic.COMBO)  # types that a widget holds
# Types for which the editor has a widget of its own.
DRAWN = ("COLOR", "COLORS", "CURVE", "BOUNDING_BOX", "BOUNDING_BOXES", "COMPOSITOR", "LOAD_3D")
SEEDS = ("seed", "noise_seed")  # the editor adds a control behind these
UNNAMED = ("control_after_generate", "upload")  # in values by name, what is no input
UNSET = object()  # the value of a widget that has none
EMPTY: Mapping[Any, Any] = MappingProxyType({"INT": 0, "FLOAT": 0, "STRING": "", "BOOLEAN": False})

Json = Mapping[str, Any]

# (class, input) -> the names and values of widgets that the editor's scripts put behind it (seen in frontend 1.49.6).
MADE: Mapping[tuple[str, str], Mapping[str, str]] = MappingProxyType(
    {
        ("SaveGLB", "filename_prefix"): {"image": ""},
        ("Preview3D", "model_file"): {"image": ""},
        ("Load3D", "model_file"): {
            "upload 3d model": "upload3dmodel",
            "upload extra resources": "uploadExtraResources",
            "clear": "clear",
        },
    }
)
COMPARISON = "IMAGECOMPARE"  # a widget that is sent and takes no place in the row
NOTHING_COMPARED = ("", "")
WHOLE = "PrimitiveInt"  # its file says the bounds
CHOICES = "CustomCombo"  # a combo whose choices are widgets as well


@dataclass
class Row:
    """The values of a node in the file.

    found: name -> value of every widget. controls: of those that the editor changes between runs.
    """

    placed: Sequence[Any]
    named: Mapping[str, Any]
    at: int = 0
    found: dict[str, Any] = field(default_factory=dict)
    controls: dict[str, Control] = field(default_factory=dict)
    inputs: dict[str, Input] = field(default_factory=dict)  # the declarations of those that the class has

    def take(self, name: str, default: Any) -> Any:
        """The next value; if the row has ended the one of this name, else the default."""
        value = self.placed[self.at] if self.at < len(self.placed) else self.named.get(name, default)
        self.at += 1
        if value is not UNSET:
            self.found[name] = value
        return value


def read_widgets(node: Json, inputs: Sequence[Input] | None) -> Row:
    """The value of every widget: by its place in the row, by its name in the file, or the default.

    The place decides, as in the editor: scripts that change a row leave the names beside it as they were.
    inputs: of the node's class; None if nobody knows it, then only values that the file names are read.
    """
    values = node.get("widgets_values") or []
    named = values if isinstance(values, dict) else node.get("widgets_values_named") or {}
    if inputs is None:
        return Row([], named, found={name: value for name, value in named.items() if name not in UNNAMED})
    # Names that tell the same as the row, entry by entry, are sure: a row may lack what the editor adds.
    placed = values if isinstance(values, list) else []
    agree = list(named.values()) == placed and not named.keys() & set(UNNAMED)
    row = Row([] if agree else placed, named)
    for one in inputs:
        own = node["type"] == WHOLE and one.type == "INT"
        _fill(row, take_bounds(one, node.get("properties") or {}) if own else one, node["type"])
    if node["type"] == CHOICES:
        _fill_choices(row)
    return row


def is_widget(one: Input) -> bool:
    """Does the editor show it on the node? A type of widget that is named apart is one, whichever it is."""
    shown = one.choices is not None or "widgetType" in one.options or one.type in (*VALUES, *DRAWN)
    return shown and not one.options.get("forceInput")


def _fill(row: Row, one: Input, kind: str) -> None:
    if one.type == COMPARISON:
        row.found[one.name] = list(NOTHING_COMPARED)
    if not is_widget(one):
        return
    value = row.take(one.name, _default(one))
    made = MADE.get((kind, one.name))
    for name, default in (made or {}).items():
        row.take(name, default)
    row.inputs[one.name] = one
    how, filtered, *_ = (*(row.placed[row.at :] if _is_controlled(one) else ()), None, None)
    if control := read_control(one, how, filtered):
        row.controls[one.name] = control
    row.at += 0 if made else _count_added(one)
    if one.type == dynamic.COMBO:
        for inner in dynamic.list_chosen(one, value):
            _fill(row, inner, kind)


def _count_added(one: Input) -> int:
    """Of entries that the editor adds behind a widget's own. Buttons that upload a file stand at the end of the row."""
    controlled = _is_controlled(one)
    filtered = controlled and one.choices is not None  # by a filter of its choices
    return controlled + filtered


def _is_controlled(one: Input) -> bool:
    return bool(one.options.get("control_after_generate", one.name in SEEDS and one.type == "INT"))


def _fill_choices(row: Row) -> None:
    """The number of the choice, and each of the choices."""
    row.take("index", 0)
    options = [str(one) for one in row.placed[row.at :]] or [""]
    choice = row.found.get("choice")
    row.found["index"] = options.index(choice) if choice in options else -1
    row.found |= {f"option{number}": one for number, one in enumerate(options, 1)}


def _default(one: Input) -> Any:
    choices = dynamic.list_keys(one) if one.type == dynamic.COMBO else one.choices
    if choices is not None:
        return one.options.get("default", choices[0] if choices else UNSET)
    return one.options.get("default", EMPTY.get(one.widget_type, UNSET))
