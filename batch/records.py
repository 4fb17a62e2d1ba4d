"""What is known of a source, of an item that is to be encoded, and of a latent in a shard."""

from dataclasses import asdict, dataclass, fields
from typing import Any

Box = tuple[int, int, int, int]  # left, top, right, bottom
Size = tuple[int, int]  # width, height
Shape = tuple[int, ...]  # that is encoded: (width, height), of a clip (width, height, frames)


@dataclass(frozen=True)
class Source:
    """An image before it was read.

    path     by which people know it, once in a job: relative to the folder, or 'photos.tar/0001.jpg'
    file     what is opened
    part     (first byte, bytes) of the file, if it holds other images too
    stamp    (bytes, time of change in ns) of the file: if they are as before, so is the image
    caption  its text
    """

    path: str
    file: str
    stamp: tuple[int, int]
    part: tuple[int, int] | None = None
    caption: str | None = None


@dataclass(frozen=True)
class Image:
    """A source whose header was read. id: SHA-256 of its bytes. size: (width, height), upright.

    frames, rate  of a clip, the latter in frames a second
    """

    source: Source
    id: str
    size: Size
    frames: int = 1
    rate: float = 0.0


@dataclass(frozen=True)
class Record:
    """One latent: of which image, and of which part of it.

    key       its name in the shard; unique in the cache
    id        SHA-256 of the bytes of the image
    path      by which people know the image
    original  (width, height) of the image, upright
    resized   to which it was resized
    crop      what was taken of that; a side outside it is padding
    bucket    (width, height) that was encoded
    flip      was it mirrored?
    number    of the crop, 0 the centre
    start     first frame of a piece of a clip, at the rate of the recipe
    frames    of the piece; 1 of an image
    """

    key: str
    id: str
    path: str
    original: Size
    resized: Size
    crop: Box
    bucket: Size
    flip: bool = False
    number: int = 0
    start: int = 0
    frames: int = 1

    @property
    def shape(self) -> Shape:
        """What is encoded: latents of one shape are run, and kept, together."""
        return (*self.bucket, self.frames) if self.frames > 1 else self.bucket

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "Record":
        """The record with these values, as `to_dict` gives them; others are left out. Raises KeyError, TypeError."""
        later = {"start": 0, "frames": 1, **d}  # which the first caches do not have
        values = {one.name: later[one.name] for one in fields(cls)}
        pairs = {name: tuple(values[name]) for name in ("original", "resized", "crop", "bucket")}
        return cls(**{**values, **pairs})


def name_shape(shape: Shape) -> str:
    """(64, 48) -> '64x48', (64, 48, 17) -> '64x48x17'."""
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class Item:
    """A record, and where its image is read."""

    record: Record
    source: Source


@dataclass(frozen=True)
class Skipped:
    """A source that has no latent, and why.

    again  may it go well another time? Then the next run tries it again
    key    of the item, if it was one of the source's crops or pieces; other items may have a latent
    """

    path: str
    reason: str
    id: str | None = None
    again: bool = False
    key: str | None = None

    @property
    def item(self) -> str | None:
        """Its item's key; of a cache of an earlier version, which had none, the image's id."""
        return self.key or self.id
