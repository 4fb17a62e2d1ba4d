"""What do these numbers mean? Latent spaces, conventions, files, noise, previews."""

from . import spectra
from .conventions import CONVENTIONS, NORMALISED, RAW, SCALED, convert
from .files import NODE_SUFFIX, SUFFIXES, read_latent, read_stored, write_latent
from .fingerprint import digest_weights
from .interpolation import METHODS, SLERP, mix, slerp, walk
from .noise import BATCH_SEEDS, CPU, INCREMENT, SEEDS, SOURCES, Noise
from .preview import CELLS, IMAGES, Factors, Findings, fit, flat, preview, principal, published
from .spaces import SPACES, TINY_FILES, LatentSpace, Tag, candidates, models, space

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
    "SCALED",
    "SEEDS",
    "SLERP",
    "SOURCES",
    "SPACES",
    "SUFFIXES",
    "TINY_FILES",
    "Factors",
    "Findings",
    "LatentSpace",
    "Noise",
    "Tag",
    "candidates",
    "convert",
    "digest_weights",
    "fit",
    "flat",
    "mix",
    "models",
    "preview",
    "principal",
    "published",
    "read_latent",
    "read_stored",
    "slerp",
    "space",
    "spectra",
    "walk",
    "write_latent",
]
