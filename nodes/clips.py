"""Clips as ComfyUI passes them on.

IMAGE    the frames follow one another, (T, H, W, C)
LATENT   (B, C, t, h, w); but of a VAE that keeps every frame (SVD) they follow one another too: (T, C, h, w); and a
         VAE whose images are run as clips (HunyuanImage 3.0) makes one of each, (B, C, 1, h, w)
"""

from typing import Any

from torch import Tensor


def frames_are_batch(vae: Any) -> bool:
    """Are clips of this VAE batches of frames?"""
    return vae.temporal_ratio == 1


def to_clip_pixels(pixels: Tensor, vae: Any) -> Tensor:
    """Pixels of an IMAGE, (T, C, H, W), as this VAE encodes them."""
    if vae.clip_law is None or frames_are_batch(vae):
        return pixels
    return pixels[:, :, None] if vae.clip_law.images_are_clips else pixels.transpose(0, 1)[None]


def to_clip_latent(latent: Tensor, vae: Any) -> Tensor:
    """(T, C, h, w) -> (1, C, T, h, w) for a VAE whose clips are batches of frames; any other latent as it is."""
    return latent.transpose(0, 1)[None] if latent.ndim == 4 and frames_are_batch(vae) else latent


def clip_shape(shape: tuple[int, ...], vae: Any) -> tuple[int, ...]:
    """The same of its shape."""
    return (1, shape[1], shape[0], *shape[2:]) if len(shape) == 4 and frames_are_batch(vae) else tuple(shape)


def decoded_frames(latent_frames: int, vae: Any) -> int:
    """Frames of a clip that so many of its latent stand for."""
    return max(0, (latent_frames - 1) * vae.temporal_ratio + 1)


def latent_frames(frames: int, vae: Any) -> int:
    """Frames of the latent of so many; what is left over at the end has none, as in core."""
    return max(0, (frames - 1) // vae.temporal_ratio + 1)


def drop_extra_frames(pixels: Tensor, vae: Any) -> Tensor:
    """The frames of (B, C, T, H, W) that have a latent frame in core, which drops the others where they are too few.

    Core's nodes count on as many latent frames. A VAE that takes the first frame for several fills up the last.
    """
    if pixels.ndim != 5 or vae.clip_law is None or vae.clip_law.first > 1:
        return pixels
    return pixels[:, :, : decoded_frames(latent_frames(pixels.shape[2], vae), vae)]
