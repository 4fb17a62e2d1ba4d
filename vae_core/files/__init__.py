"""Files: written atomically, numbered in series, the header of safetensors, and what a file is."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .atomic import explain_write_errors, make_folder, write_atomically
    from .series import Series, next_series, resolve_inside
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "atomic": "explain_write_errors make_folder write_atomically",
            "series": "Series next_series resolve_inside",
        },
    )

__all__ = [
    "Series",
    "explain_write_errors",
    "make_folder",
    "next_series",
    "resolve_inside",
    "write_atomically",
]
