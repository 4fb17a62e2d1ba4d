"""How do diffusers' pipelines run one of our VAEs? Importing this does not import diffusers; `as_vae` does."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .facts import list_facts
    from .wrapping import as_vae
else:
    __getattr__, __dir__ = lazy.offer(__name__, {"facts": "list_facts", "wrapping": "as_vae"})

__all__ = ["as_vae", "list_facts"]
