"""Between what nodes pass on and what the library works with.

IMAGE (B, H, W, C) in [0, 1]          <->  pixels (B, C, H, W) in [-1, 1]
LATENT {"samples": ..., "exact_vae"}  <->  a latent, and its tag: whose it is, how large the image was
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..vae_core import BadPixels, LatentMismatch
from ..vae_core.images import AUTOMATIC, convert_channels
from ..vae_core.latents import RAW, SPACES, Tag, name_models

TAG = "exact_vae"
WHITE = "#ffffff"


def demand_image(image: Any) -> Tensor:
    if not isinstance(image, Tensor):
        raise BadPixels(f"this input needs an IMAGE, not {type(image).__name__}.")
    if image.ndim != 4 or image.shape[-1] not in (1, 2, 3, 4):
        raise BadPixels(f"this IMAGE has the shape {tuple(image.shape)}: (B, H, W, C) with 1 to 4 channels is needed.")
    if 0 in image.shape:
        raise BadPixels(f"this IMAGE has no pixels: its shape is {tuple(image.shape)}.")
    return image


def to_pixels(image: Tensor, channels: int) -> Tensor:
    """IMAGE -> pixels of so many channels: grey is repeated, alpha dropped if there is no channel for it."""
    return convert_with_alpha(image, channels, AUTOMATIC, WHITE)[0]


def convert_with_alpha(image: Tensor, channels: int, alpha: str, background: str) -> tuple[Tensor, str]:
    """IMAGE -> (pixels of so many channels, what was done to its transparency); see `colour.as_channels`."""
    found, note = convert_channels(demand_image(image).movedim(-1, 1).float(), channels, alpha, background)
    return found * 2 - 1, note


def to_image(pixels: Tensor, clamp: bool = True) -> Tensor:
    """pixels, also of clips (B, C, T, H, W) -> IMAGE in [0, 1] or beyond; the frames of a clip follow one another."""
    if pixels.ndim == 5:
        pixels = pixels.transpose(1, 2).flatten(0, 1)
    image = (pixels + 1) / 2
    return (image.clamp(0, 1) if clamp else image).movedim(1, -1).contiguous()


def latent_of(samples: Mapping[str, Any]) -> Tensor:
    latent = samples.get("samples") if isinstance(samples, Mapping) else None
    if not isinstance(latent, Tensor):
        kind = type(latent if isinstance(samples, Mapping) else samples).__name__
        raise LatentMismatch(f"this LATENT holds no image's latent but {kind}: connect one that a VAE can decode.")
    return latent


def tag_of(samples: Mapping[str, Any]) -> Tag | None:
    """What of a LATENT's tag is still true; None if there is none, or if its latent has other channels by now."""
    tag = Tag.from_dict(samples.get(TAG))
    return tag.adapt_to(tuple(samples["samples"].shape)) if tag else None


def tag_latent(
    latent: Tensor, family: str, ratio: int, size: tuple[int, int] | None, vae: Any = None
) -> dict[str, Any]:
    """A LATENT that remembers what it is; samplers carry the tag along. vae: whose it is, to be remembered too."""
    return {"samples": latent, TAG: Tag.of(latent, family, ratio, size, vae).to_dict()}


def replace_latent(
    samples: Mapping[str, Any], latent: Tensor, tag: Tag | None = None, drop: tuple[str, ...] = ()
) -> Any:
    """The LATENT with other numbers and another tag, without keys that are no longer true. Nothing is written to."""
    kept = {key: value for key, value in samples.items() if key not in (TAG, *drop)}
    fitted = tag.adapt_to(tuple(latent.shape)) if tag else None
    return {**kept, "samples": latent, **({TAG: fitted.to_dict()} if fitted else {})}


def demand_same_vae(tag: Tag | None, vae: Any) -> None:
    """A latent of as many channels but of another ratio or family is another VAE's: nothing but its tag can tell.

    Nor can anything else tell that its numbers are no longer raw.
    """
    if tag and tag.convention != RAW:
        raise LatentMismatch(
            f"the numbers of this latent are {tag.convention}, but '{vae.name}' reads raw ones: put Convert Latent "
            "(Exact) with to = raw before this node."
        )
    if tag and (tag.ratio != vae.spatial_ratio or _is_foreign(tag.family, vae.family, tag.channels, tag.ratio)):
        whose = name_models(tag.channels, tag.ratio, tag.family) or name_models(tag.channels, tag.ratio)
        made = f"by a VAE of the family '{tag.family}' at 1/{tag.ratio}{f' ({whose})' if whose else ''}"
        raise LatentMismatch(
            f"this latent was made {made}, but '{vae.name}' is of the family '{vae.family}' and works at "
            f"1/{vae.spatial_ratio}: use the VAE of the model that made it."
        )


def demand_not_empty(latent: Tensor, ratio: int) -> None:
    """Zeros are what a sampler starts from. In a space of pixels, at 1/1, they are a grey image."""
    if ratio > 1 and not latent.any():
        raise LatentMismatch(
            "every number of this latent is 0: it is an empty latent that no sampler has worked on. Put a sampler "
            "before this node (VAE Decode (Exact) decodes zeros all the same if its empty_latent is 'decode')."
        )


def _is_foreign(one: str, other: str, channels: int, ratio: int) -> bool:
    """Do both families have known latents of these channels, but none in common?"""
    known = [space.families for space in SPACES.values() if (space.channels, space.ratio) == (channels, ratio)]
    shared = one == other or any(one in families and other in families for families in known)
    return not shared and all(any(family in families for families in known) for family in (one, other))
