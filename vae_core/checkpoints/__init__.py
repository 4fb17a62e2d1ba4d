"""What is in this file? Reading, detection, loading and saving."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from . import built_in
    from .checkpoint import Checkpoint
    from .detection import Detection, Inspection, demand_whole, detect, detect_in, inspect, to_json
    from .files import open_checkpoint
    from .joining import OWNS
    from .loading import (
        FLOATS,
        demand_floats,
        from_weights,
        in_space,
        list_spaces,
        load,
        own_dtype,
        read_as_light,
    )
    from .pickles import DAMAGE
    from .rewriting import in_file, rewrite
    from .saving import save, weights_as
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "built_in": "built_in",
            "detection": "Detection Inspection demand_whole detect detect_in inspect to_json",
            "checkpoint": "Checkpoint",
            "files": "open_checkpoint",
            "pickles": "DAMAGE",
            "joining": "OWNS",
            "loading": "FLOATS demand_floats from_weights in_space list_spaces load own_dtype read_as_light",
            "rewriting": "in_file rewrite",
            "saving": "save weights_as",
        },
    )

__all__ = [
    "DAMAGE",
    "FLOATS",
    "OWNS",
    "Checkpoint",
    "Detection",
    "Inspection",
    "built_in",
    "demand_floats",
    "demand_whole",
    "detect",
    "detect_in",
    "from_weights",
    "in_file",
    "in_space",
    "inspect",
    "list_spaces",
    "load",
    "open_checkpoint",
    "own_dtype",
    "read_as_light",
    "rewrite",
    "save",
    "to_json",
    "weights_as",
]
