"""Reports for people: what a VAE or a latent is, and how VAEs compare."""

from . import comparison
from .comparison import Overflow, RoundTrip
from .description import describe_file, describe_vae, format_rows
from .latent import describe_latent
from .tables import format_markdown

__all__ = [
    "Overflow",
    "RoundTrip",
    "comparison",
    "describe_file",
    "describe_latent",
    "describe_vae",
    "format_markdown",
    "format_rows",
]
