"""Conversion between what nodes pass on and what the library works with.

IMAGE   (B, H, W, C) in [0, 1], or the frames of a clip       <->  pixels (B, C, H, W) or (B, C, T, H, W) in [-1, 1]
LATENT  {"samples": ..., "exact_vae": ...}                    <->  a latent and its tag, see `vae_core.latents.Tag`

The latent of a clip is usually (B, C, t, h, w). A VAE that keeps every frame (SVD) makes a batch of latent frames,
(T, C, h, w). Images of their own are (B, C, 1, h, w) to a VAE of clips, see frames.py; all images are to one that runs
each as a clip of one frame (HunyuanImage 3.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..vae_core import BadPixels, LatentMismatch, images, latents
from ..vae_core.plain import name_need

TAG = "exact_vae"
WHITE = "#ffffff"


def demand_image(image: Any, name: str = "this input") -> Tensor:
    """Return the IMAGE, (B, H, W, C) in [0, 1]. Raises BadPixels if it is none. name: of the input, for sentences"""
    if not isinstance(image, Tensor):
        raise BadPixels(f"{name} needs an IMAGE, not {type(image).__name__}.")
    if need := name_need(image):
        raise BadPixels(f"{name} needs an IMAGE: {need}.")
    if image.ndim != 4 or image.shape[-1] not in (1, 2, 3, 4):
        raise BadPixels(f"this IMAGE has the shape {tuple(image.shape)}: (B, H, W, C) with 1 to 4 channels is needed.")
    if 0 in image.shape:
        raise BadPixels(f"this IMAGE has no pixels: its shape is {tuple(image.shape)}.")
    return image


def to_pixels(image: Tensor, channels: int) -> Tensor:
    """IMAGE -> pixels (B, channels, H, W) in [-1, 1], float32. Alpha is left out if there is no channel for it."""
    return convert_with_alpha(image, channels, images.AUTOMATIC, WHITE)[0]


def convert_with_alpha(image: Tensor, channels: int, alpha: str, background: str) -> tuple[Tensor, str]:
    """IMAGE -> (pixels (B, channels, H, W) in [-1, 1], float32; a note on its transparency).

    alpha and background: see `vae_core.images.convert_channels`. Raises BadPixels and BadRequest.
    """
    found, note = images.convert_channels(demand_image(image).movedim(-1, 1).float(), channels, alpha, background)
    return images.to_pixel_range(found), note


def to_image(pixels: Tensor, clamp: bool = True) -> Tensor:
    """pixels (B, C, H, W) or (B, C, T, H, W) -> IMAGE (B * T, H, W, C). Without clamp it may leave [0, 1]."""
    image = images.to_unit_range(images.flatten_frames(pixels))
    return (image.clamp(0, 1) if clamp else image).movedim(1, -1).contiguous()


def latent_of(samples: Mapping[str, Any]) -> Tensor:
    """The latent of a LATENT. Raises LatentMismatch if it holds no single tensor."""
    latent = samples.get("samples") if isinstance(samples, Mapping) else None
    if not isinstance(latent, Tensor):
        kind = type(latent if isinstance(samples, Mapping) else samples).__name__
        raise LatentMismatch(
            f"this LATENT holds {kind} instead of the latent of an image: connect one that a VAE can decode."
        )
    return latent


def tag_of(samples: Mapping[str, Any]) -> latents.Tag | None:
    """The part of a LATENT's tag that still holds; None without a tag, or if the latent has other channels by now."""
    tag = latents.Tag.from_dict(samples.get(TAG))
    return tag.check(latent_of(samples)) if tag else None


def has_forgotten_size(samples: Mapping[str, Any]) -> bool:
    """Does a LATENT come of an image whose size it can no longer be cropped to?"""
    before, tag = latents.Tag.from_dict(samples.get(TAG)), tag_of(samples)
    return bool(before and tag and (before.size, before.frames) != (tag.size, tag.frames))


def tag_latent(
    latent: Tensor, family: str, ratio: int, size: tuple[int, int] | None, vae: Any = None, frames: int | None = None
) -> dict[str, Any]:
    """A LATENT with a tag, which samplers pass on. vae: the VAE that made it, if the tag shall remember it."""
    return {"samples": latent, TAG: latents.Tag.of(latent, family, ratio, size, vae, frames).to_dict()}


def replace_latent(
    samples: Mapping[str, Any], latent: Tensor, tag: latents.Tag | None = None, drop: tuple[str, ...] = ()
) -> Any:
    """A copy of the LATENT with another latent that lies as it did, another tag, and without the keys in `drop`."""
    kept = {key: value for key, value in samples.items() if key not in (TAG, *drop)}
    fitted = tag.adapt_to(tuple(latent.shape)) if tag else None
    return {**kept, "samples": latent, **({TAG: fitted.renew(latent).to_dict()} if fitted else {})}


def demand_same_vae(tag: latents.Tag | None, vae: Any) -> None:
    """Raise LatentMismatch if the tag says that the latent is not raw, or that a VAE of another kind made it.

    The shape alone cannot tell: different VAEs have the same number of channels.
    """
    if tag and tag.convention != latents.RAW:
        raise LatentMismatch(
            f"this latent is {tag.convention}, but '{vae.name}' takes raw ones: put Convert Latent (Exact) with "
            "to = raw before this node."
        )
    if tag and (tag.ratio != vae.spatial_ratio or _is_foreign(tag.family, vae.family, tag.channels, tag.ratio)):
        whose = latents.name_models(tag.channels, tag.ratio, tag.family) or latents.name_models(tag.channels, tag.ratio)
        made = f"by a VAE of the family '{tag.family}' at 1/{tag.ratio}{f' ({whose})' if whose else ''}"
        raise LatentMismatch(
            f"this latent was made {made}, but '{vae.name}' is of the family '{vae.family}' and works at "
            f"1/{vae.spatial_ratio}: use the VAE of the model that made it."
        )


def demand_not_empty(latent: Tensor, ratio: int) -> None:
    """Raise LatentMismatch for an empty latent. At ratio 1, in pixel space, zeros are a grey image and allowed."""
    if ratio > 1 and not latent.any():
        raise LatentMismatch(
            "every number of this latent is 0: it is an empty latent that no sampler has worked on. Put a sampler "
            "before this node, or set empty_latent of VAE Decode (Exact) to 'decode'."
        )


def _is_foreign(one: str, other: str, channels: int, ratio: int) -> bool:
    """Do both families have known latent spaces with these channels and ratio, but none in common?"""
    known = [space.families for space in latents.SPACES.values() if (space.channels, space.ratio) == (channels, ratio)]
    shared = one == other or any(one in families and other in families for families in known)
    return not shared and all(any(family in families for families in known) for family in (one, other))


def frames_are_batch(vae: Any) -> bool:
    """Is a clip's latent a batch of frames for this VAE?"""
    return vae.temporal_ratio == 1


def is_batch_of_frames(latent_shape: tuple[int, ...], vae: Any) -> bool:
    """Is a latent of this shape a clip for this VAE, and its items the frames?"""
    return len(latent_shape) == 4 and frames_are_batch(vae)


def to_clip_pixels(pixels: Tensor, vae: Any) -> Tensor:
    """Pixels of an IMAGE (T, C, H, W) -> (1, C, T, H, W), (T, C, 1, H, W) or unchanged, as this VAE encodes them."""
    if vae.clip_law is None or frames_are_batch(vae):
        return pixels
    return pixels[:, :, None] if vae.clip_law.images_stay_apart else pixels.transpose(0, 1)[None]


def to_clip_latent(latent: Tensor, vae: Any) -> Tensor:
    """(T, C, h, w) -> (1, C, T, h, w) for a VAE whose clips are batches of frames; other latents are unchanged."""
    return latent.transpose(0, 1)[None] if is_batch_of_frames(latent.shape, vae) else latent


def clip_shape(shape: tuple[int, ...], vae: Any) -> tuple[int, ...]:
    """The shape of `to_clip_latent` for a latent of this shape."""
    return (1, shape[1], shape[0], *shape[2:]) if is_batch_of_frames(shape, vae) else tuple(shape)


def decoded_frames(latent_frames: int, vae: Any) -> int:
    """The number of frames that a latent of so many frames decodes to."""
    if latent_frames < 1 or (vae.clip_law.first > 1 and not vae.clip_law.counts):
        return max(0, (latent_frames - 1) * vae.temporal_ratio + 1)
    return vae.clip_law.decoded(latent_frames)


def latent_frames(frames: int, vae: Any) -> int:
    """The number of latent frames for so many frames; surplus frames at the end have none, as in ComfyUI."""
    return vae.clip_law.latents(kept) if (kept := _kept_frames(frames, vae)) > 0 else 0


def drop_extra_frames(pixels: Tensor, vae: Any) -> Tensor:
    """Drop the frames at the end of pixels (B, C, T, H, W) that are too few for one more step of the VAE's law.

    ComfyUI drops them too, and its nodes rely on that number of latent frames. A VAE whose first latent frame stands
    for several frames repeats its last frame instead.
    """
    if pixels.ndim != 5 or vae.clip_law is None:
        return pixels
    return pixels[:, :, : _kept_frames(pixels.shape[2], vae)]


def _kept_frames(frames: int, vae: Any) -> int:
    """Of so many frames, those that core's nodes encode."""
    law = vae.clip_law
    return frames if law.first > 1 else frames - (frames - law.first) % law.step
