"""Files: written atomically, numbered, read within bounds; the header of safetensors, and what a file is."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .atomic import Target, demand_place, explain_write_errors, make_folder, write_atomically
    from .limits import LARGEST_JSON
    from .parts import hold_folder
    from .reading import NO_NAME, demand_file, explain_read_errors, parse_json, read_json
    from .safetensors_writing import write_tensors
    from .series import NumberedFile, Series, demand_prefix, next_series, resolve_inside, start_series
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "atomic": "Target demand_place explain_write_errors make_folder write_atomically",
            "limits": "LARGEST_JSON",
            "parts": "hold_folder",
            "reading": "NO_NAME demand_file explain_read_errors parse_json read_json",
            "safetensors_writing": "write_tensors",
            "series": "NumberedFile Series demand_prefix next_series resolve_inside start_series",
        },
    )

__all__ = [
    "LARGEST_JSON",
    "NO_NAME",
    "NumberedFile",
    "Series",
    "Target",
    "demand_file",
    "demand_place",
    "demand_prefix",
    "explain_read_errors",
    "explain_write_errors",
    "hold_folder",
    "make_folder",
    "next_series",
    "parse_json",
    "read_json",
    "resolve_inside",
    "start_series",
    "write_atomically",
    "write_tensors",
]
