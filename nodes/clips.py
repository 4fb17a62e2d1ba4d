"""Clips as ComfyUI passes them on.

IMAGE    a batch of frames, (T, H, W, C)
LATENT   usually (B, C, t, h, w).
         A VAE that keeps every frame (SVD) makes a batch of latent frames, (T, C, h, w).
         A VAE that runs images as clips of one frame (HunyuanImage 3.0) makes (B, C, 1, h, w).
"""

from typing import Any

from torch import Tensor


def frames_are_batch(vae: Any) -> bool:
    """Is a clip's latent a batch of frames for this VAE?"""
    return vae.temporal_ratio == 1


def to_clip_pixels(pixels: Tensor, vae: Any) -> Tensor:
    """Pixels of an IMAGE (T, C, H, W) -> (1, C, T, H, W), (T, C, 1, H, W) or unchanged, as this VAE encodes them."""
    if vae.clip_law is None or frames_are_batch(vae):
        return pixels
    return pixels[:, :, None] if vae.clip_law.images_are_clips else pixels.transpose(0, 1)[None]


def to_clip_latent(latent: Tensor, vae: Any) -> Tensor:
    """(T, C, h, w) -> (1, C, T, h, w) for a VAE whose clips are batches of frames; other latents are unchanged."""
    return latent.transpose(0, 1)[None] if latent.ndim == 4 and frames_are_batch(vae) else latent


def clip_shape(shape: tuple[int, ...], vae: Any) -> tuple[int, ...]:
    """The shape of `to_clip_latent` for a latent of this shape."""
    return (1, shape[1], shape[0], *shape[2:]) if len(shape) == 4 and frames_are_batch(vae) else tuple(shape)


def decoded_frames(latent_frames: int, vae: Any) -> int:
    """The number of frames that a latent of so many frames decodes to."""
    return max(0, (latent_frames - 1) * vae.temporal_ratio + 1)


def latent_frames(frames: int, vae: Any) -> int:
    """The number of latent frames for so many frames; surplus frames at the end have none, as in ComfyUI."""
    return max(0, (frames - 1) // vae.temporal_ratio + 1)


def drop_extra_frames(pixels: Tensor, vae: Any) -> Tensor:
    """Drop the frames at the end of pixels (B, C, T, H, W) that are too few for one more latent frame.

    ComfyUI drops them too, and its nodes rely on that number of latent frames. A VAE whose first latent frame stands
    for several frames repeats its last frame instead.
    """
    if pixels.ndim != 5 or vae.clip_law is None or vae.clip_law.first > 1:
        return pixels
    return pixels[:, :, : decoded_frames(latent_frames(pixels.shape[2], vae), vae)]
