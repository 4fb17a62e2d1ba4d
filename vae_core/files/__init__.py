"""Files that are whole or not there, numbered series, and the header of safetensors."""

from .atomic import made, published
from .series import Series, inside, series

__all__ = [
    "Series",
    "inside",
    "made",
    "published",
    "series",
]
