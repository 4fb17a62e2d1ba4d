"""Several images for a VAE of clips: the frames of one clip, or images of their own."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from . import host
from .images import to_clip_pixels
from .inputs import choice_input

CLIP, SEPARATE = FRAMES = ("clip", "separate images")


def frames_input() -> dict[str, Any]:
    frames = (
        "For a VAE of clips that gets several images. clip: they are the frames of one clip, as in ComfyUI. separate "
        "images: each becomes a latent of its own, and decoding gives as many images back."
    )
    return {"frames": choice_input(FRAMES, CLIP, frames, advanced=True)}


def lay_out(pixels: Tensor, vae: Any, frames: str) -> tuple[Tensor, str]:
    """Pixels (B, C, H, W) -> (as this VAE encodes them; a note on what several images are to a VAE of clips).

    Separate images are (B, C, 1, H, W), a clip is as `to_clip_pixels` says. frames: one of FRAMES.
    """
    latent_frames = _count_latent_frames(vae, len(pixels))
    if latent_frames is None:
        return pixels, ""
    separate = frames == SEPARATE or _keeps_images_apart(vae)
    x = pixels[:, :, None] if separate else to_clip_pixels(pixels, vae)
    return x, _describe(len(pixels), None if separate else latent_frames) if len(pixels) > 1 else ""


def describe_clip(frames: int, vae: Any) -> str:
    """What so many frames are to this VAE, if they are encoded as a clip; '' to a VAE of images."""
    latent_frames = _count_latent_frames(vae, frames)
    if latent_frames is None:
        return ""
    return _describe(frames, None if _keeps_images_apart(vae) else latent_frames)


def describe_images(images: int) -> str:
    return f"{images} separate images" if images > 1 else "one image"


def _describe(images: int, latent_frames: int | None) -> str:
    if latent_frames is None:
        return describe_images(images)
    return f"{_count(images, 'frame')} as one clip of {_count(latent_frames, 'latent frame')}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n > 1 else ''}"


def _count_latent_frames(vae: Any, frames: int) -> int | None:
    """Frames of the latent of a clip of so many; None for a VAE of images."""
    if isinstance(vae, host.HostVAE):
        return vae.count_latent_frames(frames)
    return vae.clip_law.latents(frames) if vae.clip_law else None


def _keeps_images_apart(vae: Any) -> bool:
    """Is an image, also one of several, always a clip of its own to this VAE of clips?"""
    return vae.images_are_clips if isinstance(vae, host.HostVAE) else vae.clip_law.images_stay_apart
