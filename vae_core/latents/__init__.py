"""What do these numbers mean? Latent spaces, conventions, files, noise, previews."""

from . import spectra
from .conventions import CONVENTIONS, NORMALISED, RAW, SCALED, convert
from .files import NODE_SUFFIX, SUFFIXES, read_latent, read_stored, write_latent
from .fingerprint import fingerprint
from .interpolation import METHODS, SLERP, mix, slerp, walk
from .noise import BATCH_SEEDS, CPU, INCREMENT, SEEDS, SOURCES, Noise
from .preview import CELLS, IMAGES, Factors, fit, flat, preview, principal, published, remembered
from .spaces import SPACES, LatentSpace, Tag, candidates, models, space

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
    "Factors",
    "LatentSpace",
    "Noise",
    "Tag",
    "candidates",
    "convert",
    "fingerprint",
    "fit",
    "flat",
    "mix",
    "models",
    "preview",
    "principal",
    "published",
    "read_latent",
    "read_stored",
    "remembered",
    "slerp",
    "space",
    "spectra",
    "walk",
    "write_latent",
]
