"""Core nodes for numbers, texts and choices, under ComfyUI's ids."""

import json
from typing import Any, ClassVar

from .core_pixels import Core
from .dynamic import MATCH


class _Primitive(Core):
    OUTPUT_TOOLTIPS = ("The value.",)
    CATEGORY = "utilities/primitive"

    def run(self, value: Any) -> tuple[Any]:
        return (value,)


class PrimitiveInt(_Primitive):
    DESCRIPTION = "A whole number."
    MOST: ClassVar[int] = 2**63 - 1
    TAKES = {"value": ("INT", {"default": 0, "min": -MOST, "max": MOST, "control_after_generate": "fixed"})}
    RETURN_TYPES = ("INT",)


class PrimitiveFloat(_Primitive):
    DESCRIPTION = "A number."
    TAKES = {"value": ("FLOAT", {"default": 0.0, "min": -PrimitiveInt.MOST, "max": PrimitiveInt.MOST, "step": 0.1})}
    RETURN_TYPES = ("FLOAT",)


class PrimitiveString(_Primitive):
    DESCRIPTION = "A text of one line."
    TAKES = {"value": ("STRING", {"multiline": False})}
    RETURN_TYPES = ("STRING",)


class PrimitiveStringMultiline(_Primitive):
    DESCRIPTION = "A text."
    TAKES = {"value": ("STRING", {"multiline": True})}
    RETURN_TYPES = ("STRING",)


class PrimitiveBoolean(_Primitive):
    DESCRIPTION = "Yes or no."
    TAKES = {"value": ("BOOLEAN", {})}
    RETURN_TYPES = ("BOOLEAN",)


class StringConcatenate(Core):
    DESCRIPTION = "Puts two texts into one."
    TAKES = {"string_a": ("STRING", {"multiline": True}), "string_b": ("STRING", {"multiline": True}),
             "delimiter": ("STRING", {"default": ""})}  # fmt: skip
    RETURN_TYPES = ("STRING",)
    OUTPUT_TOOLTIPS = ("The text.",)
    CATEGORY = "text"

    def run(self, string_a: str, string_b: str, delimiter: str) -> tuple[str]:
        return (delimiter.join((string_a, string_b)),)


class ComfySwitchNode(Core):
    DESCRIPTION = "Gives one of two values. The other one does not run."
    EITHER: ClassVar[dict[str, Any]] = {"lazy": True, "template": {"template_id": "switch", "allowed_types": "*"}}
    TAKES = {"switch": ("BOOLEAN", {}), "on_false": (MATCH, EITHER), "on_true": (MATCH, EITHER)}
    RETURN_TYPES = (MATCH,)
    OUTPUT_TOOLTIPS = ("The value that was chosen.",)
    CATEGORY = "utilities/logic"

    def check_lazy_status(self, switch: bool, on_false: Any = None, on_true: Any = None) -> list[str]:
        if switch:
            return ["on_true"] if on_true is None else []
        return ["on_false"] if on_false is None else []

    def run(self, switch: bool, on_false: Any = None, on_true: Any = None) -> tuple[Any]:
        return (on_true if switch else on_false,)


class PreviewAny(Core):
    DESCRIPTION = "Shows a value as text."
    TAKES = {"source": ("*", {})}
    RETURN_TYPES = ("STRING",)
    OUTPUT_TOOLTIPS = ("The text.",)
    OUTPUT_NODE = True
    CATEGORY = "utilities"

    def run(self, source: Any) -> dict[str, Any]:
        text = _write(source)
        return {"ui": {"text": (text,)}, "result": (text,)}


VALUES = (PrimitiveInt, PrimitiveFloat, PrimitiveString, PrimitiveStringMultiline, PrimitiveBoolean, StringConcatenate,
          ComfySwitchNode, PreviewAny)  # fmt: skip


def _write(value: Any) -> str:
    if isinstance(value, str | int | float | bool):
        return str(value)
    try:
        return "None" if value is None else json.dumps(value, indent=4)
    except (TypeError, ValueError):
        return str(value)
