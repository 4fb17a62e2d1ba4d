"""Names and shapes of real checkpoints: the files of tests/headers."""

import json
from pathlib import Path

HEADERS = Path(__file__).parents[1] / "headers"
DC_AE = ["dc-ae-f32c32-sana.diffusers", "dc-ae-f32c32.original", "dc-ae-lite-f32c32.diffusers"]


def header(name: str) -> dict:
    """A file of tests/headers, its shapes as tuples."""
    found = json.loads((HEADERS / f"{name}.json").read_text())
    found["shapes"] = {name: tuple(shape) for name, shape in found["shapes"].items()}
    return found


def header_names() -> list[str]:
    return sorted(path.stem for path in HEADERS.glob("*.json"))
