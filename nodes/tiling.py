"""Inputs of both tiled nodes, with ComfyUI's names, defaults and order, and the options of a run they stand for."""

from __future__ import annotations

from typing import Any

from .. import vae_core
from ..vae_core import execution
from . import host
from .inputs import choice_input, int_input

MODES = EXACT, BLENDED = ("exact", "blended approximate")
AUTOMATIC = "automatic"


def inputs(step: int) -> dict[str, Any]:
    """The optional inputs. The step of tile_size differs between ComfyUI's two nodes."""
    size = (
        "exact: the largest number of pixel rows in a strip; the result does not depend on it. blended approximate: "
        "the side of a tile in pixels."
    )
    overlap = "Used in blended approximate: pixels that neighbouring tiles share."
    frames = "Used in blended approximate, for VAEs of video: frames of a tile."
    shared = "Used in blended approximate, for VAEs of video: frames that neighbouring tiles share."
    mode = (
        "exact: run in strips of rows, with the result of VAE Decode (Exact) and VAE Encode (Exact). blended "
        "approximate: run in overlapping tiles and blend them, as ComfyUI does; colours may shift and seams may show."
    )
    keep = (
        "Used in exact: where to keep strips that are read more than once. automatic: on the device while they fit, "
        "then in system memory, then in a scratch file on disk."
    )
    return {
        "tile_size": int_input(512, 64, 4096, size, step=step),
        "overlap": int_input(64, 0, 4096, overlap, step=32, advanced=True),
        "temporal_size": int_input(64, 8, 4096, frames, step=4, advanced=True),
        "temporal_overlap": int_input(8, 4, 4096, shared, step=4, advanced=True),
        "mode": choice_input(MODES, EXACT, mode),
        "keep": choice_input((AUTOMATIC, *execution.KEEP), AUTOMATIC, keep),
    }


def run_options(
    tile_size: int, overlap: int, temporal_size: int, temporal_overlap: int, mode: str, keep: str
) -> vae_core.RunOptions:
    """These inputs as `VAE.encode` and `VAE.decode` take them. Raises BadRequest for tiles that cannot be."""
    if mode == BLENDED:
        return vae_core.RunOptions(tiles=host.ClipTiles(tile_size, overlap, temporal_size, temporal_overlap))
    return vae_core.RunOptions(rows=tile_size, keep=None if keep == AUTOMATIC else keep)
