"""Loads the node classes of packs that need no module of ComfyUI. Their code runs: load what you trust."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from .graph import GraphError

TABLE = "NODE_CLASS_MAPPINGS"


def load_pack(path: str | os.PathLike[str]) -> dict[str, type]:
    """class_type -> node class, of a folder with __init__.py or of one file. Raises GraphError if it cannot run."""
    place = Path(path)
    source = place / "__init__.py" if place.is_dir() else place
    if not source.is_file():
        raise GraphError(f"there is no pack of nodes at '{path}': give a folder with __init__.py, or a .py file")
    classes = getattr(_run_module(source, place), TABLE, None)
    if not isinstance(classes, dict) or not all(isinstance(one, type) for one in classes.values()):
        raise GraphError(f"the pack '{path}' has no {TABLE}, a table of its node classes by their names")
    return dict(classes)


def _run_module(source: Path, place: Path) -> ModuleType:
    name = str(place.resolve().with_suffix("")).replace(".", "_x_")  # as the host does, so that no two packs are one
    within = [str(place)] if place.is_dir() else None
    spec = importlib.util.spec_from_file_location(name, source, submodule_search_locations=within)
    if spec is None or spec.loader is None:
        raise GraphError(f"'{source}' is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        raise GraphError(f"the pack '{place}' cannot be loaded here: {_say_why(error)}") from error
    return module


def _say_why(error: Exception) -> str:
    missing: Any = error.name if isinstance(error, ModuleNotFoundError) else None
    return f"it needs the module '{missing}'" if missing else f"{type(error).__name__}: {error}"
