"""The texts of the nodes in the files that ComfyUI reads for a language: locales/<language>/nodeDefs.json.

Beside them, main.json holds the templates of the line in which a node says how it ran; web/lines.js reads them.

The English nodeDefs.json is generated from the classes, which are the only place to edit:
    python -m exact_vae.nodes.translations
Files of other languages have the same keys and are edited by hand.
"""

import json
from pathlib import Path
from typing import Any

from . import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

FOLDER = Path(__file__).parents[1] / "locales"


def english() -> dict[str, Any]:
    """Node id -> display_name, description, inputs by name and outputs by position, each with name and tooltip."""
    return {node: _of(node, cls) for node, cls in NODE_CLASS_MAPPINGS.items()}


def file_of(language: str) -> Path:
    return FOLDER / language / "nodeDefs.json"


def as_text(texts: dict[str, Any]) -> str:
    return json.dumps(texts, ensure_ascii=False, indent=2) + "\n"


def _of(node: str, cls: Any) -> dict[str, Any]:
    types = cls.INPUT_TYPES()
    inputs = {**types["required"], **types.get("optional", {})}
    names = getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES)
    outputs = enumerate(zip(names, cls.OUTPUT_TOOLTIPS, strict=True))
    return {
        "display_name": NODE_DISPLAY_NAME_MAPPINGS[node],
        "description": cls.DESCRIPTION,
        "inputs": {name: {"name": name, "tooltip": options["tooltip"]} for name, (_, options) in inputs.items()},
        "outputs": {str(i): {"name": name, "tooltip": tooltip} for i, (name, tooltip) in outputs},
    }


if __name__ == "__main__":
    file_of("en").write_text(as_text(english()), encoding="utf-8")
