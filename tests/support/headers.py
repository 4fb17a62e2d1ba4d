"""Names and shapes of real checkpoints: the files of tests/headers."""

import json
from pathlib import Path

HEADERS = Path(__file__).parents[1] / "headers"


def header(name: str) -> dict:
    """A file of tests/headers, its shapes as tuples."""
    found = json.loads((HEADERS / f"{name}.json").read_text())
    found["shapes"] = {name: tuple(shape) for name, shape in found["shapes"].items()}
    return found


def header_names() -> list[str]:
    return sorted(path.stem for path in HEADERS.glob("*.json"))
