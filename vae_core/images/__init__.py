"""Images before and after a VAE: ranges, channels, padding, masks, compositing, metrics, heat maps."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from . import masks
    from .compositing import composite, match_colours
    from .exchange import from_numpy, from_uint8, to_numpy, to_uint8
    from .heatmaps import WHITE_HOT, channel_grid, heat_map
    from .lettering import draw_letters, letters_width
    from .light import from_light, to_light
    from .metrics import colour_shift, psnr, ssim
    from .pillow import from_pil, to_pil
    from .pixels import (
        ALPHA,
        AUTOMATIC,
        COMPOSITE,
        convert_channels,
        crop_to,
        demand_alpha,
        flatten_frames,
        pad_to,
        to_levels,
        to_pixel_range,
        to_unit_range,
    )
    from .plausible import demand_range
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "masks": "masks",
            "compositing": "composite match_colours",
            "exchange": "from_numpy from_uint8 to_numpy to_uint8",
            "heatmaps": "WHITE_HOT channel_grid heat_map",
            "lettering": "draw_letters letters_width",
            "light": "from_light to_light",
            "metrics": "colour_shift psnr ssim",
            "pillow": "from_pil to_pil",
            "plausible": "demand_range",
            "pixels": "ALPHA AUTOMATIC COMPOSITE convert_channels crop_to demand_alpha flatten_frames"
            " pad_to to_levels to_pixel_range to_unit_range",
        },
    )

__all__ = [
    "ALPHA",
    "AUTOMATIC",
    "COMPOSITE",
    "WHITE_HOT",
    "channel_grid",
    "colour_shift",
    "composite",
    "convert_channels",
    "crop_to",
    "demand_alpha",
    "demand_range",
    "draw_letters",
    "flatten_frames",
    "from_light",
    "from_numpy",
    "from_pil",
    "from_uint8",
    "heat_map",
    "letters_width",
    "masks",
    "match_colours",
    "pad_to",
    "psnr",
    "ssim",
    "to_levels",
    "to_light",
    "to_numpy",
    "to_pil",
    "to_pixel_range",
    "to_uint8",
    "to_unit_range",
]
