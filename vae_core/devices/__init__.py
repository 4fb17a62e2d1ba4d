"""What does a device compute well: in which dtype does a VAE run there, and with which of torch's settings?"""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .cards import RULES
    from .dtypes import DTYPES, choose_dtype, demand_device, name_dtype, parse_dtype
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "cards": "RULES",
            "dtypes": "DTYPES choose_dtype demand_device name_dtype parse_dtype",
        },
    )

__all__ = ["DTYPES", "RULES", "choose_dtype", "demand_device", "name_dtype", "parse_dtype"]
