"""The core nodes that graphs about VAEs need, under ComfyUI's ids, for running without ComfyUI.

They have the inputs, file names and pixels of the core nodes of the same name, with these differences: images of 8 and
16 bits are read exactly (core passes them through luma and chroma of about 15 bits), alpha that colours are multiplied
by is divided out, floats keep values beyond 0 and 1, and what has no agreed white is refused; an image with NaN is
refused instead of saved black, and so is a size of no pixel. CORE_ALIASES lists the core ids that our own nodes stand
in for.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ..folders import Folders
from .empty import EMPTY
from .files import FILES
from .filtering import FILTERING
from .images import IMAGES
from .joint import JOINT
from .latents import LATENTS
from .loading import LOADING
from .masks import MASKS
from .painting import Painter
from .saving import SAVING
from .sizes import SIZES
from .sounds import SOUND_FILES
from .stand_ins import ENCODERS, as_core_encoder
from .texts import TEXTS
from .values import VALUES
from .video_saving import VIDEO_SAVING
from .videos import VIDEO_LOADING, VIDEOS

IN_FOLDERS = (*LOADING, *FILES, *SAVING, Painter, *SOUND_FILES, *VIDEO_LOADING, *VIDEO_SAVING)
# Those that know no folder:
FREE = (*EMPTY, *IMAGES, *FILTERING, *SIZES, *MASKS, *LATENTS, *JOINT, *TEXTS, *VALUES, *VIDEOS)

CORE_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "VAELoader": "ExactVAELoader",
        "VAEEncode": "ExactVAEEncode",
        "VAEEncodeTiled": "ExactVAETiledEncode",
        "VAETiledEncode": "ExactVAETiledEncode",
        "VAEEncodeForInpaint": "ExactVAEEncodeForInpaint",
        "VAEDecode": "ExactVAEDecode",
        "VAEDecodeTiled": "ExactVAETiledDecode",
        "VAETiledDecode": "ExactVAETiledDecode",
        "VAESave": "ExactVAESave",
        "LatentNoise": "ExactLatentNoise",
    }
)


def core_nodes(
    input_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    temp_dir: str | os.PathLike[str],
    aliases: Mapping[str, type],
) -> dict[str, type]:
    """Core id -> node class, bound to these folders.

    aliases: our node id -> class, for CORE_ALIASES; a core id whose class is missing here is left out.
    """
    folders = Folders(Path(input_dir), Path(output_dir), Path(temp_dir))
    bound = {name_of(one): type(one.__name__, (one,), {"folders": folders}) for one in IN_FOLDERS}
    free = {name_of(one): one for one in FREE}
    stand_ins = {core: aliases[ours] for core, ours in CORE_ALIASES.items() if ours in aliases}
    encoders = {core: as_core_encoder(core, stand_ins[core]) for core in ENCODERS if core in stand_ins}
    return {**bound, **free, **stand_ins, **encoders}


def name_of(node: type) -> str:
    """The id in core of a class here."""
    return getattr(node, "ID", "") or node.__name__
