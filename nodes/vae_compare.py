"""Compare VAE: one image through several VAEs, in numbers and side by side."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import vae_core
from ..vae_core import execution, images, reports
from . import host
from .entrance import checks_inputs
from .images import demand_image
from .inputs import choice_input, float_input, int_input
from .tiling import BLENDED, EXACT

BOTH = "both"


@checks_inputs()
class VAECompare:
    DESCRIPTION = (
        "Encodes and decodes an image with up to four VAEs and measures the results: PSNR, SSIM, largest error, colour "
        "shift, KL, time and memory. To compare dtypes, load one file several times. With mode both, each VAE also "
        "runs in blended tiles. If a VAE overflows, its row says so."
    )
    CATEGORY = "Exact VAE/inspect"
    SEARCH_ALIASES = ["compare vae", "psnr", "ssim", "round trip", "vae quality", "vae benchmark", "difference",
                      "colour shift", "washed out", "banding"]  # fmt: skip
    RETURN_TYPES = ("STRING", "IMAGE", "IMAGE")
    RETURN_NAMES = ("report", "side_by_side", "heat_map")
    OUTPUT_TOOLTIPS = (
        "A Markdown table with a row for each run, for Preview as Text or a file.",
        "The image, then the decoded images, from left to right in the order of the table.",
        "The error of each decoded image: black is none, then red, then white.",
    )
    FUNCTION = "compare"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        modes = (
            "exact: run whole or in strips, with the same result. blended approximate: run in overlapping tiles and "
            "blend them. both: a row for each."
        )
        white = "The error that is drawn white in the heat map, as a fraction of the full range."
        side = "Used in blended tiles: side of a tile in pixels."
        overlap = "Used in blended tiles: pixels that neighbouring tiles share."
        image = "One image, or several of one size. Figures are means over them, errors the largest."
        other = "Another VAE, or the same VAE in another dtype."
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": image}),
                "vae": ("VAE", {"tooltip": "A VAE, from any loader."}),
            },
            "optional": {
                **{f"vae_{i}": ("VAE", {"tooltip": other}) for i in (2, 3, 4)},
                "mode": choice_input((EXACT, BLENDED, BOTH), EXACT, modes),
                "tile_size": int_input(512, 64, 4096, side, step=32, advanced=True),
                "overlap": int_input(64, 0, 4096, overlap, step=32, advanced=True),
                "white": float_input(images.WHITE_HOT, 0.01, 1.0, white),
            },
        }

    def compare(self, image, vae, vae_2=None, vae_3=None, vae_4=None, mode=EXACT, tile_size=512, overlap=64,
                white=0.2):  # fmt: skip
        image = images.convert_channels(demand_image(image).movedim(-1, 1).float(), 3)[0]
        tiles = {EXACT: [None], BLENDED: [host.ClipTiles(tile_size, overlap)]}
        ways = tiles.get(mode, [*tiles[EXACT], *tiles[BLENDED]])
        vaes = {"vae": vae, "vae_2": vae_2, "vae_3": vae_3, "vae_4": vae_4}
        runs = [(name, one, way) for name, one in vaes.items() if one is not None for way in ways]
        bars = execution.share_progress(host.progress(), len(runs))
        trips = [_run_round_trip(*run, image, bar) for run, bar in zip(runs, bars, strict=True)]
        image = image.cpu()
        comparison = reports.comparison
        drawn = (comparison.draw_side_by_side(image, trips), comparison.draw_heat_maps(image, trips, white))
        shown = [host.result(one) for one in map(_to_image, drawn)]
        found = host.show_text(comparison.format_lines(trips), comparison.format_table(trips), *shown, images=shown)
        decoded = [_to_image(one) for one in comparison.list_decoded(image, trips)]
        return {**found, "ui": {**found["ui"], **host.slide_images([_to_image(image)], decoded)}}


def _to_image(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) -> IMAGE, the same numbers."""
    return pixels.movedim(1, -1).contiguous()


def _run_round_trip(
    name: str, vae: Any, tiles: host.ClipTiles | None, image: Tensor, progress: execution.Progress | None
) -> reports.RoundTrip | reports.Overflow:
    def prepare(half: vae_core.Half, shape: tuple[int, ...]) -> tuple[Any, Any]:
        codec = host.from_socket(vae, half, shape, vae_core.RunOptions(tiles=tiles))
        return codec, host.budget(vae)

    what = f"{name}: {host.look(vae).name}, {host.runs_in(vae)}{', blended' if tiles else ''}"
    return reports.comparison.round_trip(what, prepare, image, tiles=tiles, progress=progress)
