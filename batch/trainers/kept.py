"""A latent as a trainer keeps it, and why a file of its cache has none."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..records import Size

LARGEST = 2**32  # bytes of a latent that is read, unpacked: a clip of 4 GiB
MOST_SHARDS = 2**20  # items that the database of a cache may name


@dataclass(frozen=True)
class Kept:
    """A latent in the cache of a trainer.

    where       the file, and which of the latents in it
    trainer     a key of formats.CONVENTIONS
    latent      (C, h, w), or of clips (C, T, h, w), as it is stored
    convention  of its numbers, as this trainer keeps them for this model
    spaces      whose latent it may be, keys of SPACES; empty if the format does not tell
    made        when it was written, in ns
    image       the file of its image, if the cache names it
    stem        else the image's name without ending, or the SHA-256 of that
    near        the folder in which such an image may lie beside the latent; None: only where the user says
    original    (width, height) of the image, if the cache says
    bucket      (width, height) that was encoded, if the cache says
    mirrored    is it of the mirrored image?
    frames      does the latent have a dimension for frames?
    faults      what its reader found wrong
    """

    where: str
    trainer: str
    latent: Tensor
    convention: str
    made: int
    spaces: tuple[str, ...] = ()
    image: Path | None = None
    stem: str = ""
    near: Path | None = None
    original: Size | None = None
    bucket: Size | None = None
    mirrored: bool = False
    faults: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        """(width, height) of the latent."""
        return self.latent.shape[-1], self.latent.shape[-2]


class Unread(NamedTuple):
    """A file of a cache that cannot be read, and why."""

    where: str
    what: str
