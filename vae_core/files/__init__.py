"""Files: written atomically, numbered in series, and the header of safetensors."""

from .atomic import explain_write_errors, make_folder, write_atomically
from .series import Series, next_series, resolve_inside

__all__ = [
    "Series",
    "explain_write_errors",
    "make_folder",
    "next_series",
    "resolve_inside",
    "write_atomically",
]
