"""What families are built from."""

from .ldm import Resample, ResnetBlock

__all__ = [
    "Resample",
    "ResnetBlock",
]
