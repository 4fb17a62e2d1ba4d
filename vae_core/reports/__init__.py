"""Reports for people: what a VAE or a latent is, and how VAEs compare."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from . import comparison
    from .comparison import Overflow, RoundTrip
    from .description import describe_file, describe_vae, format_rows
    from .latent import describe_latent, describe_numbers, format_fixed
    from .survey import format_survey, list_survey, list_weights, survey_files, survey_to_json
    from .tables import format_markdown
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "comparison": "comparison Overflow RoundTrip",
            "description": "describe_file describe_vae format_rows",
            "latent": "describe_latent describe_numbers format_fixed",
            "survey": "format_survey list_survey list_weights survey_files survey_to_json",
            "tables": "format_markdown",
        },
    )

__all__ = [
    "Overflow",
    "RoundTrip",
    "comparison",
    "describe_file",
    "describe_latent",
    "describe_numbers",
    "describe_vae",
    "format_fixed",
    "format_markdown",
    "format_rows",
    "format_survey",
    "list_survey",
    "list_weights",
    "survey_files",
    "survey_to_json",
]
