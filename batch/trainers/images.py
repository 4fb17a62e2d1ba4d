"""The images that latents were made of."""

import hashlib
import os
from functools import cached_property
from pathlib import Path

from ...vae_core import readers
from .kept import Kept


class Images:
    """Where images are looked for: where the cache says, beside the latent, and in the folder that the user names."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder

    def find(self, kept: Kept) -> Path | None:
        """The image of a latent; None if it is not there, or if several may be meant."""
        if kept.image and kept.image.is_file():
            return kept.image
        beside = _find_beside(kept.near, kept.stem) if kept.near and kept.stem else None
        if beside or not kept.stem:
            return beside
        found = self._by_stem.get(kept.stem, ())
        return found[0] if len(found) == 1 else None

    def should_have(self, kept: Kept) -> bool:
        """Should the image be found? What lies nowhere known is not missed."""
        return bool(kept.image) or self.folder is not None

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        """Images by their names without ending, and by the SHA-256 of these."""
        found: dict[str, list[Path]] = {}
        for place, _, names in os.walk(self.folder) if self.folder else ():
            for name in names:
                path = Path(place, name)
                if path.suffix.lower() in readers.SUFFIXES:
                    for key in (path.stem, hashlib.sha256(path.stem.encode("utf-8", "replace")).hexdigest()):
                        found.setdefault(key, []).append(path)
        return found


def _find_beside(folder: Path, stem: str) -> Path | None:
    places = (folder / f"{stem}{suffix}" for suffix in readers.SUFFIXES)
    return next((place for place in places if place.is_file()), None)
