"""Between what nodes pass on and what the library works with.

IMAGE (B, H, W, C) in [0, 1]          <->  pixels (B, C, H, W) in [-1, 1]
LATENT {"samples": ..., "exact_vae"}  <->  a latent, and its tag: whose it is, how large the picture was
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..vae_core import BadPixels, LatentMismatch
from ..vae_core.latents import Tag, models

TAG = "exact_vae"


def demand_image(image: Any) -> Tensor:
    if not isinstance(image, Tensor):
        raise BadPixels(f"this input needs an IMAGE, not {type(image).__name__}.")
    if image.ndim != 4 or image.shape[-1] not in (1, 2, 3, 4):
        raise BadPixels(f"this IMAGE has the shape {tuple(image.shape)}: (B, H, W, C) with 1 to 4 channels is needed.")
    return image


def to_pixels(image: Tensor, channels: int) -> Tensor:
    """IMAGE -> pixels of so many channels: grey is repeated, alpha dropped."""
    image = demand_image(image)
    found = image.shape[-1]
    if found < 3 and channels >= 3:
        image = image[..., :1].expand(*image.shape[:-1], 3)
    if channels == 4 and image.shape[-1] == 3:
        image = torch.cat([image, torch.ones_like(image[..., :1])], -1)
    return image[..., :channels].movedim(-1, 1).float() * 2 - 1


def to_image(pixels: Tensor) -> Tensor:
    """pixels, also of clips (B, C, T, H, W) -> IMAGE, clamped to [0, 1]; the frames of a clip follow one another."""
    if pixels.ndim == 5:
        pixels = pixels.transpose(1, 2).flatten(0, 1)
    return ((pixels + 1) / 2).clamp(0, 1).movedim(1, -1).contiguous()


def latent_of(samples: Mapping[str, Any]) -> Tensor:
    latent = samples.get("samples") if isinstance(samples, Mapping) else None
    if not isinstance(latent, Tensor):
        kind = type(latent if isinstance(samples, Mapping) else samples).__name__
        raise LatentMismatch(f"this LATENT holds no picture's latent but {kind}: connect one that a VAE can decode.")
    return latent


def tag_of(samples: Mapping[str, Any]) -> Tag | None:
    return Tag.from_dict(samples.get(TAG))


def with_tag(latent: Tensor, family: str, ratio: int, size: tuple[int, int] | None) -> dict[str, Any]:
    """A LATENT that remembers what it is; samplers carry the tag along."""
    return {"samples": latent, TAG: Tag.of(latent, family, ratio, size).to_dict()}


def demand_same_ratio(tag: Tag | None, ratio: int, name: str) -> None:
    """A latent of as many channels but another ratio is another VAE's: nothing but its tag can tell."""
    if tag and tag.ratio != ratio:
        whose = models(tag.channels, tag.ratio)
        raise LatentMismatch(
            f"this latent was made at 1/{tag.ratio}{f' ({whose})' if whose else ''}, but '{name}' works at 1/{ratio}: "
            "use the VAE of the model that made it."
        )
