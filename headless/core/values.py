"""Core nodes for numbers, texts and choices, under ComfyUI's ids."""

import json
import math
import re
from collections.abc import Mapping
from string import ascii_lowercase
from types import MappingProxyType
from typing import Any, ClassVar

import torch

from ...vae_core.errors import BadRequest
from ..dynamic import AUTOGROW, MATCH
from .declaring import Core, Nested, whole
from .expressions import Number, evaluate

EDGE = 6  # numbers at each end of a side of a tensor that is shown
MEGA = 1024 * 1024  # what core calls a megapixel


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


class ComfyNotNode(Core):
    DESCRIPTION = "Gives the opposite: yes for what is empty, zero or no."
    TAKES = {"value": ("*", {})}
    RETURN_TYPES = ("BOOLEAN",)
    OUTPUT_TOOLTIPS = ("Yes or no.",)
    CATEGORY = "utilities/logic"

    def run(self, value: Any) -> tuple[bool]:
        return (not value,)


class ComfyMathExpression(Nested):
    DESCRIPTION = "Computes a number from others: `floor(a / 32) * 32`."
    ROW: ClassVar[dict[str, Any]] = {
        "input": {"required": {"value": ("FLOAT,INT,BOOLEAN", {})}}, "names": list(ascii_lowercase), "min": 1
    }  # fmt: skip
    TAKES = {"expression": ("STRING", {"default": "a + b", "multiline": True, "tooltip": "The expression."}),
             "values": (AUTOGROW, {"template": ROW, "tooltip": "What the letters stand for."})}  # fmt: skip
    RETURN_TYPES = ("FLOAT", "INT", "BOOLEAN")
    OUTPUT_TOOLTIPS = ("The number.", "The number without what is behind its point.", "Is it another number than 0?")
    CATEGORY = "utilities"

    def run(self, expression: str, values: Mapping[str, Number] = MappingProxyType({})) -> tuple[float, int, bool]:
        """Raises BadRequest."""
        found = evaluate(expression, values)
        return float(found), int(found), bool(found)


class ComfyNumberConvert(Core):
    DESCRIPTION = "Makes a number of a text, or of yes and no."
    TAKES = {"value": ("INT,FLOAT,STRING,BOOLEAN", {})}
    RETURN_TYPES = ("FLOAT", "INT")
    OUTPUT_TOOLTIPS = ("The number.", "The number without what is behind its point.")
    CATEGORY = "utilities"

    def run(self, value: Any) -> tuple[float, int]:
        """Raises BadRequest for what is no finite number."""
        exact = _read_whole(value)
        try:
            number = float(value if exact is None else exact)
        except (TypeError, ValueError, OverflowError):
            raise BadRequest(f"{value!r:.80} is no number") from None
        if not math.isfinite(number):
            raise BadRequest(f"{value!r:.80} is no finite number")
        return number, int(number) if exact is None else exact


class ColorToRGBInt(Core):
    DESCRIPTION = "Reads a colour such as #ff8000, or #ff800080 with alpha."
    TAKES = {"color": ("COLOR", {"default": "#ffffff", "tooltip": "The colour."})}
    RETURN_TYPES = ("INT", "COLOR", "FLOAT")
    OUTPUT_TOOLTIPS = ("Red, green and blue as one number.", "The colour without alpha.", "The alpha: 1 is opaque.")
    CATEGORY = "utilities"

    def run(self, color: str) -> tuple[int, str, float]:
        """Raises BadRequest."""
        if not re.fullmatch("#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?", color):
            raise BadRequest(f"'{color:.40}' is no colour: give #RRGGBB or #RRGGBBAA")
        return int(color[1:7], 16), color[:7], int(color[7:] or "ff", 16) / 255


class ResolutionSelector(Core):
    DESCRIPTION = "Computes width and height from their ratio and a number of pixels."
    RATIOS: ClassVar[Mapping[str, tuple[int, int]]] = MappingProxyType(
        {"1:1 (Square)": (1, 1), "2:3 (Portrait Photo)": (2, 3), "3:2 (Photo)": (3, 2),
         "3:4 (Portrait Standard)": (3, 4), "4:3 (Standard)": (4, 3), "9:16 (Portrait Widescreen)": (9, 16),
         "16:9 (Widescreen)": (16, 9), "21:9 (Ultrawide)": (21, 9)}
    )  # fmt: skip
    TAKES = {"aspect_ratio": (list(RATIOS), {"default": "1:1 (Square)", "tooltip": "Width to height."}),
             "megapixels": ("FLOAT", {"default": 1.0, "min": 0.1, "max": 16.0, "step": 0.1}),
             "multiple": whole(8, 8, 128, step=4)}  # fmt: skip
    RETURN_TYPES = ("INT", "INT")
    OUTPUT_TOOLTIPS = ("Width in pixels.", "Height in pixels.")
    CATEGORY = "utilities"

    def run(self, aspect_ratio: str, megapixels: float, multiple: int) -> tuple[int, int]:
        columns, rows = self.RATIOS[aspect_ratio]
        unit = math.sqrt(megapixels * MEGA / (columns * rows))
        width, height = (round(side * unit / multiple) * multiple for side in (columns, rows))
        return width, height


class CustomCombo(Core):
    DESCRIPTION = "One of some texts, which the workflow lists."
    TAKES = {"choice": ([], {"tooltip": "The text."})}
    MAY_TAKE = {
        "index": ("*", {"forceInput": True, "tooltip": "Its number; the editor gives it, and it goes on as it is."})
    }
    RETURN_TYPES = ("STRING", "INT")
    OUTPUT_TOOLTIPS = ("The text.", "Its number.")
    CATEGORY = "utilities"

    @classmethod
    def VALIDATE_INPUTS(cls, choice: Any) -> bool:
        """Any text is right: the choices are in the workflow."""
        return True

    def run(self, choice: str, index: Any = 0) -> tuple[str, Any]:
        return choice, index


VALUES = (PrimitiveInt, PrimitiveFloat, PrimitiveString, PrimitiveStringMultiline, PrimitiveBoolean, ComfySwitchNode,
          PreviewAny, ComfyNotNode, ComfyMathExpression, ComfyNumberConvert, ColorToRGBInt, ResolutionSelector,
          CustomCombo)  # fmt: skip


def _read_whole(value: Any) -> int | None:
    """Of a whole number, which may have more digits than a float."""
    try:
        return int(value) if isinstance(value, int | str) else None
    except ValueError:
        return None


def _write(value: Any) -> str:
    """As the host does: JSON where it is some, with all letters as they are, and of large tensors six at each end."""
    if value is None or isinstance(value, str | int | float):
        return str(value)
    try:
        return json.dumps(value, indent=4, ensure_ascii=False)
    except Exception:  # a value of a pack may raise anything
        return _print(value)


def _print(value: Any) -> str:
    usual = vars(torch)["_tensor_str"].PRINT_OPTS.edgeitems  # which torch tells nowhere else
    torch.set_printoptions(edgeitems=EDGE)
    try:
        return str(value)
    except Exception:
        return "source exists, but could not be serialized."
    finally:
        torch.set_printoptions(edgeitems=usual)
