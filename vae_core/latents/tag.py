"""The tag that a latent carries through nodes and files."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from .conventions import RAW
from .likeness import draw_marks, lies_as_before, runs_as_before
from .spaces import SPACES


@dataclass(frozen=True)
class Tag:
    """What a latent remembers: which VAE made it, what its numbers mean, how large its image was, how long its clip.

    family       family of the VAE that made it
    channels     of the latent
    ratio        pixels per latent pixel
    latent       (h, w) of the latent when it was tagged; if it has another size now, `size` no longer holds
    size         (H, W) of the image, before padding
    convention   'raw', 'scaled' or 'normalised', see conventions.py
    space        name of its latent space, a key of SPACES, if the VAE knows it
    vae          fingerprint of the VAE that made it
    frames       (frames of the latent of a clip, frames of the clip), before it was continued
    items        how many items the latent had
    marks        by which it is known again, see likeness.py; only if there is a size or a number of frames to trust
    """

    family: str
    channels: int
    ratio: int
    latent: tuple[int, int]
    size: tuple[int, int] | None = None
    convention: str = RAW
    space: str | None = None
    vae: str | None = None
    frames: tuple[int, int] | None = None
    items: int | None = None
    marks: str | None = None

    @classmethod
    def of(
        cls,
        latent: Tensor,
        family: str,
        ratio: int,
        size: tuple[int, int] | None,
        vae: Any = None,
        frames: int | None = None,
    ) -> "Tag":
        """The tag of a raw latent. Raises nothing of its own.

        latent  (B, C, h, w) or (B, C, T, h, w), any floating dtype
        size    (H, W) of its image
        vae     the VAE that made it, which has a `latent_space` and a `fingerprint`; None if it is not known
        frames  of its clip
        """
        h, w = latent.shape[-2:]
        long = (latent.shape[2], frames) if frames and latent.ndim == 5 else None
        tag = cls(family, latent.shape[1], ratio, (h, w), size, frames=long)
        tag = tag if vae is None else replace(tag, space=vae.latent_space, vae=vae.fingerprint)
        return tag.renew(latent)

    def renew(self, latent: Tensor) -> "Tag":
        """The same tag for a latent that is known to lie as the one that was tagged, whatever its numbers are.

        latent: (B, C, h, w) or (B, C, T, h, w), of the tagged shape. Raises nothing.
        """
        if self.size is None and self.frames is None:
            return replace(self, items=None, marks=None)
        return replace(self, items=len(latent), marks=draw_marks(latent))

    def check(self, latent: Tensor) -> "Tag | None":
        """The part of this tag that still holds for this latent; None as in `adapt_to`.

        The size and the frames do not if the latent has been turned or mixed with others, see likeness.py.
        latent: (B, C, h, w) or (B, C, T, h, w). Raises nothing.
        """
        found = self.adapt_to(tuple(latent.shape))
        if not found or found.marks is None:
            return found
        if tuple(latent.shape[-2:]) != self.latent:
            holds = runs_as_before(found.marks, latent)  # only the frames may: the size is forgotten
        else:
            holds = lies_as_before(found.marks, found.items or len(latent), latent)
        return found if holds else replace(found, size=None, frames=None, items=None, marks=None)

    def size_of(self, latent_shape: tuple[int, ...]) -> tuple[int, int] | None:
        """The size to crop the decoded image to; None if the latent has another size than when it was tagged."""
        return self.size if tuple(latent_shape[-2:]) == self.latent else None

    def frames_of(self, latent_shape: tuple[int, ...]) -> int | None:
        """The number of frames to crop the decoded clip to; None if the latent has another one than when tagged."""
        fits = self.frames and len(latent_shape) == 5 and latent_shape[2] == self.frames[0]
        return self.frames[1] if fits and self.frames else None

    def adapt_to(self, latent_shape: tuple[int, ...]) -> "Tag | None":
        """The part of this tag that still holds for a latent of this shape.

        None for another number of channels, and for a latent of neither an image nor a clip: a sampler of sound may
        have put one where the tagged latent was.
        """
        if len(latent_shape) not in (4, 5) or latent_shape[1] != self.channels:
            return None
        h, w = latent_shape[-2:]
        size = self.size_of(latent_shape)
        frames = self.frames if self.frames_of(latent_shape) else None
        marks = self.marks if size or frames else None
        return replace(self, latent=(h, w), size=size, frames=frames, marks=marks, items=self.items if marks else None)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without fields that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> "Tag | None":
        """The tag in this JSON; None if it cannot be read, because a latent can be used without one."""
        try:
            return cls.from_dict(json.loads(text))
        except (ValueError, RecursionError):
            return None

    @classmethod
    def from_dict(cls, d: Any) -> "Tag | None":
        """The tag with these values, as `to_dict` gives them; None if they are no tag or contradict each other."""
        try:
            h, w = (int(n) for n in d["latent"])
            size = None if d.get("size") is None else tuple(int(n) for n in d["size"])
            words = {name: str(d[name]) for name in ("convention", "space", "vae", "marks") if d.get(name) is not None}
            frames = None if d.get("frames") is None else tuple(int(n) for n in d["frames"])
            numbers = {"frames": frames, "items": None if d.get("items") is None else int(d["items"])}
            tag = cls(str(d["family"]), int(d["channels"]), int(d["ratio"]), (h, w), size, **words, **numbers)  # type: ignore
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
            return None
        return tag._drop_foreign_space() if tag._is_possible() else None

    def _is_possible(self) -> bool:
        """Are all sizes positive, and is the image no larger than what the latent decodes to?"""
        items = 1 if self.items is None else self.items
        if min(self.channels, self.ratio, *self.latent, *(self.frames or ()), items) < 1:
            return False
        if self.frames and len(self.frames) != 2:
            return False
        pairs = list(zip(self.size or (), self.latent, strict=False))
        return self.size is None or (len(self.size) == 2 and all(0 < pixels <= n * self.ratio for pixels, n in pairs))

    def _drop_foreign_space(self) -> "Tag":
        """Forget a space that is not known here or has other channels. The other fields may still be true."""
        space = SPACES.get(self.space or "")
        return self if space and space.channels == self.channels else replace(self, space=None)
