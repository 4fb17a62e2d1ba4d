"""What do the numbers of a latent mean? Latent spaces, conventions, tags, files, noise, previews."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from . import spectra
    from .conventions import CONVENTIONS, NORMALISED, RAW, SCALED, convert
    from .files import NODE_SUFFIX, READABLE, SUFFIXES, StoredLatent, read_latent, read_latent_file, write_latent
    from .fingerprint import digest_weights
    from .interpolation import METHODS, SLERP, interpolate, slerp, walk
    from .noise import BATCH_SEEDS, CPU, INCREMENT, SEEDS, SOURCES, Noise
    from .numbers import demand_latent, demand_numbers
    from .packing import find_packing, latent_of_z, unpack
    from .previews import (
        CELLS,
        IMAGES,
        Factors,
        Findings,
        false_colours,
        fit,
        preview,
        published_factors,
    )
    from .spaces import SPACES, LatentSpace, find_spaces, get_space, list_tiny_spaces, name_models
    from .tag import Tag
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "spectra": "spectra",
            "conventions": "CONVENTIONS NORMALISED RAW SCALED convert",
            "files": "NODE_SUFFIX READABLE SUFFIXES StoredLatent read_latent read_latent_file write_latent",
            "fingerprint": "digest_weights",
            "interpolation": "METHODS SLERP interpolate slerp walk",
            "noise": "BATCH_SEEDS CPU INCREMENT SEEDS SOURCES Noise",
            "numbers": "demand_latent demand_numbers",
            "packing": "find_packing latent_of_z unpack",
            "previews": "CELLS IMAGES Factors Findings false_colours fit preview published_factors",
            "spaces": "SPACES LatentSpace find_spaces get_space list_tiny_spaces name_models",
            "tag": "Tag",
        },
    )

__all__ = [
    "BATCH_SEEDS",
    "CELLS",
    "CONVENTIONS",
    "CPU",
    "IMAGES",
    "INCREMENT",
    "METHODS",
    "NODE_SUFFIX",
    "NORMALISED",
    "RAW",
    "READABLE",
    "SCALED",
    "SEEDS",
    "SLERP",
    "SOURCES",
    "SPACES",
    "SUFFIXES",
    "Factors",
    "Findings",
    "LatentSpace",
    "Noise",
    "StoredLatent",
    "Tag",
    "convert",
    "demand_latent",
    "demand_numbers",
    "digest_weights",
    "false_colours",
    "find_packing",
    "find_spaces",
    "fit",
    "get_space",
    "interpolate",
    "latent_of_z",
    "list_tiny_spaces",
    "name_models",
    "preview",
    "published_factors",
    "read_latent",
    "read_latent_file",
    "slerp",
    "spectra",
    "unpack",
    "walk",
    "write_latent",
]
