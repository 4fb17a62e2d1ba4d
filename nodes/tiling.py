"""What both tiled nodes take, with core's names, defaults and order, and how that asks a VAE to run."""

from typing import Any

from ..vae_core import RunOptions
from ..vae_core.execution import KEEP
from . import host

MODES = EXACT, BLENDED = ("exact", "blended approximate")
PLACES = (AUTOMATIC, *_) = ("automatic", *KEEP)


def inputs(step: int) -> dict[str, Any]:
    """The optional inputs; `step` of tile_size is another in core's two nodes."""
    size = (
        "exact: the most rows of pixels in a band; the result does not depend on it. blended approximate: the side of "
        "a tile."
    )
    mode = (
        "exact: in bands of rows, the image of VAE Decode (Exact) and VAE Encode (Exact). blended approximate: in "
        "tiles that are faded into one another, as core does it, once over; other colours and seams may show."
    )
    keep = (
        "For exact, where bands are kept that are read again. automatic: on the device while they fit, then in system "
        "memory, then in a scratch file on disk."
    )
    return {
        "tile_size": _size(512, 64, 4096, step, size),
        "overlap": _size(64, 0, 4096, 32, "For blended approximate: pixels that neighbouring tiles share."),
        "temporal_size": _size(64, 8, 4096, 4, "Frames of a tile. Only for VAEs of video, and not in exact."),
        "temporal_overlap": _size(8, 4, 4096, 4, "Frames that tiles share. Only for VAEs of video, and not in exact."),
        "mode": (list(MODES), {"default": EXACT, "tooltip": mode}),
        "keep": (list(PLACES), {"default": AUTOMATIC, "advanced": True, "tooltip": keep}),
    }


def run_options(
    tile_size: int, overlap: int, temporal_size: int, temporal_overlap: int, mode: str, keep: str
) -> RunOptions:
    """These inputs as `VAE.encode` and `VAE.decode` take them. Raises BadRequest for tiles that cannot be."""
    if mode == BLENDED:
        return RunOptions(tiles=host.ClipTiles(tile_size, overlap, temporal_size, temporal_overlap))
    return RunOptions(rows=tile_size, keep=None if keep == AUTOMATIC else keep)


def _size(default: int, least: int, most: int, step: int, tooltip: str):
    return ("INT", {"default": default, "min": least, "max": most, "step": step, "advanced": True, "tooltip": tooltip})
