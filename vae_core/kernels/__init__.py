"""What is computed faster by a kernel of our own than by torch's operations, on GPUs that can; elsewhere by these."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .choose import add_bias, find_moments, normalize, normalize_pixels
else:
    __getattr__, __dir__ = lazy.offer(__name__, {"choose": "add_bias find_moments normalize normalize_pixels"})

__all__ = ["add_bias", "find_moments", "normalize", "normalize_pixels"]
