"""Compare VAE: one image through several VAEs, in numbers and side by side."""

from typing import Any

from torch import Tensor

from ..vae_core import Half, RunOptions
from ..vae_core.images import WHITE_HOT, convert_channels
from ..vae_core.reports import Overflow, RoundTrip, comparison
from . import host
from .images import demand_image
from .tiling import BLENDED, EXACT

BOTH = "both"


class VAECompare:
    DESCRIPTION = (
        "Sends an image through one VAE or several and back, and measures what came back: PSNR, SSIM, the largest "
        "error, the shift of colour, KL, time and memory. Load one file in several dtypes to compare those; mode both "
        "also runs each in blended tiles. A VAE that overflows gets a line that says so."
    )
    CATEGORY = "Exact VAE/inspect"
    SEARCH_ALIASES = ["compare vae", "psnr", "ssim", "round trip", "vae quality", "vae benchmark", "difference"]
    RETURN_TYPES = ("STRING", "IMAGE", "IMAGE")
    RETURN_NAMES = ("report", "side_by_side", "heat_map")
    OUTPUT_TOOLTIPS = (
        "A table in Markdown, a row for each run: for Preview as Text, or a file.",
        "The image, then what came back of it, from left to right in the order of the table.",
        "Where each differs from the image: black not at all, then red, then white.",
    )
    FUNCTION = "compare"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        modes = (
            "exact: whole or in bands, the same image. blended approximate: in tiles that are faded into one "
            "another. both: a line for each."
        )
        white = "The error that is drawn white in the heat map, as a share of the whole range."
        size = {"min": 64, "max": 4096, "step": 32, "advanced": True}
        other = "Another VAE, or the same one in another dtype."
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The image, or several of one size: figures are then their means."}),
                "vae": ("VAE", {"tooltip": "A VAE, from any loader."}),
            },
            "optional": {
                **{f"vae_{i}": ("VAE", {"tooltip": other}) for i in (2, 3, 4)},
                "mode": ([EXACT, BLENDED, BOTH], {"default": EXACT, "tooltip": modes}),
                "tile_size": ("INT", {**size, "default": 512, "tooltip": "Side of a blended tile in pixels."}),
                "overlap": ("INT", {**size, "min": 0, "default": 64, "tooltip": "Pixels that blended tiles share."}),
                "white": ("FLOAT", {"default": WHITE_HOT, "min": 0.01, "max": 1.0, "step": 0.01, "tooltip": white}),
            },
        }

    def compare(self, image, vae, vae_2=None, vae_3=None, vae_4=None, mode=EXACT, tile_size=512, overlap=64,
                white=WHITE_HOT):  # fmt: skip
        image = convert_channels(demand_image(image).movedim(-1, 1).float(), 3)[0]
        tiles = {EXACT: [None], BLENDED: [host.ClipTiles(tile_size, overlap)]}
        ways = tiles.get(mode, [*tiles[EXACT], *tiles[BLENDED]])
        vaes = {"vae": vae, "vae_2": vae_2, "vae_3": vae_3, "vae_4": vae_4}
        trips = [
            _run_round_trip(name, one, image, way) for name, one in vaes.items() if one is not None for way in ways
        ]
        image = image.cpu()
        shown = (comparison.draw_side_by_side(image, trips), comparison.draw_heat_maps(image, trips, white))
        return host.told(
            comparison.format_lines(trips),
            comparison.format_table(trips),
            *(host.result(one.movedim(1, -1).contiguous()) for one in shown),
        )


def _run_round_trip(name: str, vae: Any, image: Tensor, tiles: host.ClipTiles | None) -> RoundTrip | Overflow:
    def ready(half: Half, shape: tuple[int, ...]) -> tuple[Any, Any]:
        codec = host.from_socket(vae, half, shape, RunOptions(tiles=tiles))
        return codec, host.budget(vae)

    what = f"{name}: {host.look(vae).name}, {host.runs_in(vae)}{', blended' if tiles else ''}"
    return comparison.round_trip(what, ready, image, tiles=tiles, progress=host.progress())
