"""Texts for people."""

from . import comparison, description
from .comparison import Overflow, RoundTrip
from .latent import describe_latent

__all__ = [
    "Overflow",
    "RoundTrip",
    "comparison",
    "describe_latent",
    "description",
]
