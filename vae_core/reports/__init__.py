"""Texts for people."""

from . import comparison, description
from .comparison import Overflow, RoundTrip
from .latent import report

__all__ = [
    "Overflow",
    "RoundTrip",
    "comparison",
    "description",
    "report",
]
