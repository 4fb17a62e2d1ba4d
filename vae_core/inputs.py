"""What comes to a VAE is checked here, and brought into the shape that networks run in; nothing is checked further in.

Networks run on batches of images, (B, C, H, W). Only a VAE of clips sees a clip as more than so many images; to it
they go as clips, (B, C, T, H, W).
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from . import dtypes
from .errors import BadPixels, BadRequest, LatentMismatch, NumericalOverflow
from .families import Config, Network
from .images.padding import pad_to
from .latents import spaces
from .ops import Ops

LARGEST_PIXEL = 100.0  # HDR images exceed 1, some by far; this tells an image in 0...255


class Codec(Config, Protocol):
    """What must be known of a VAE; the facts are those of its config."""

    name: str
    network: Network

    @property
    def title(self) -> str: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...


def takes_clips(vae: Codec, frames: int) -> bool:
    """Are these run as a clip? One frame is an image to most VAEs of clips."""
    return bool(vae.temporal_ratio) and (frames > 1 or vae.network.images_are_clips)


def images(vae: Codec, pixels: Tensor) -> tuple[Tensor, int | None]:
    """Pixels as they are run, and the frames in each clip if clips are to be made of them again afterwards."""
    if not isinstance(pixels, Tensor):
        raise BadPixels(f"pixels must be a tensor, not {type(pixels).__name__}.")
    x, frames = folded(vae, pixels)
    shape = tuple(pixels.shape)
    if x.ndim not in (4, 5) or x.shape[1] != vae.in_channels or 0 in shape or not x.is_floating_point():
        raise BadPixels(
            f"these pixels are {str(x.dtype).removeprefix('torch.')} of shape {shape}: '{vae.name}' encodes "
            f"floating-point pixels of shape (B, {vae.in_channels}, H, W) or (B, {vae.in_channels}, T, H, W)."
        )
    demand_in_range(x)
    return x, frames


def latent(vae: Codec, z: Tensor, size: tuple[int, int] | None) -> tuple[Tensor, int | None]:
    """The same of a latent."""
    if size and min(size) < 1:
        raise BadRequest(f"an image cannot be cropped to {size[1]}x{size[0]}.")
    if not isinstance(z, Tensor):
        raise LatentMismatch(f"a latent must be a tensor, not {type(z).__name__}.")
    x, frames = folded(vae, z)
    if x.ndim not in (4, 5) or 0 in x.shape or not x.is_floating_point():
        raise LatentMismatch(
            f"this is no latent, but {str(z.dtype).removeprefix('torch.')} of shape {tuple(z.shape)}: a latent is "
            "floating-point of shape (B, C, h, w) or (B, C, T, h, w)."
        )
    if x.shape[1] != vae.latent_channels:
        raise LatentMismatch(_mismatch(vae, z))
    if not torch.isfinite(x).all():
        raise NumericalOverflow("this latent holds NaN or infinity: it was broken before it came to the VAE.")
    return x, frames


def side_input(vae: Codec, image: Tensor | None, mask: Tensor | None, z: Tensor) -> Tensor | None:
    """(B, C + 1, H, W): the image, 0 where the mask is 1, and the mask. None if neither is given."""
    if image is None and mask is None:
        return None
    if not vae.network.masked_decode_ops():
        raise BadRequest(f"'{vae.name}' cannot decode with an image and a mask: it is {vae.title}.")
    if image is None or mask is None:
        raise BadRequest("give an image and a mask, or neither.")
    pixels, _ = images(vae, image)
    masks, _ = folded(vae, mask)
    if masks.shape != (len(pixels), 1, *pixels.shape[-2:]) or not (masks.amin() >= 0 and masks.amax() <= 1):
        raise BadPixels(
            f"this mask has shape {tuple(mask.shape)}: for an image of shape {tuple(image.shape)} it needs one "
            "channel, the same size, and numbers in [0, 1]."
        )
    exact = dtypes.at_least_fp32(vae.dtype)
    pixels, masks = (t.to(vae.device, exact) for t in (pixels, masks))
    x = pad_to(torch.cat([pixels * (1 - masks), masks], 1), vae.spatial_ratio)
    if x.shape[2:] != tuple(n * vae.spatial_ratio for n in z.shape[2:]) or len(x) != len(z):
        raise LatentMismatch(f"a latent of shape {tuple(z.shape)} is not of images of shape {tuple(image.shape)}.")
    return x.to(vae.dtype).contiguous(memory_format=torch.channels_last)


def demand_in_range(x: Tensor) -> None:
    x = x.detach()
    largest = max(-x.amin().item(), x.amax().item(), key=lambda n: (math.isnan(n), n))
    if not largest < LARGEST_PIXEL:  # also true of NaN
        found = f"reach {largest:g}" if math.isfinite(largest) else "hold NaN or infinity"
        raise BadPixels(f"these pixels {found}: an image's must be numbers in [-1, 1] (an IMAGE's in [0, 1]).")


def folded(vae: Codec, x: Tensor) -> tuple[Tensor, int | None]:
    """Frames as images, (B, C, T, H, W) -> (B * T, C, H, W) and T, unless the VAE runs them as clips: then None.

    Images as clips of one frame, and 0, if the VAE runs no others; clips of one frame as they are, and -1.
    """
    if takes_clips(vae, 1) and (x.ndim == 4 or (x.ndim == 5 and x.shape[2] == 1)):
        return (x[:, :, None], 0) if x.ndim == 4 else (x, -1)
    if x.ndim != 5 or takes_clips(vae, x.shape[2]):
        return x, None
    return x.transpose(1, 2).flatten(0, 1), x.shape[2]


def unfolded(frames: int | None) -> Ops:
    """The way back: (B * T, C, h, w) -> (B, C, T, h, w).

    Of an image that was run as a clip the last frame is kept: (B, C, t, h, w) -> (B, C, h, w), of -1 (B, C, 1, h, w).
    """

    def unfold(x: Tensor) -> Tensor:
        if frames == -1:
            return x[:, :, -1:]
        return x.unflatten(0, (-1, frames)).transpose(1, 2) if frames else x[:, :, -1]

    return () if frames is None else (unfold,)


def _mismatch(vae: Codec, z: Tensor) -> str:
    channels = z.shape[1]
    whose = spaces.name_models(channels)
    return (
        f"this latent has {channels} channels (shape {tuple(z.shape)}{f', as of {whose}' if whose else ''}), but "
        f"'{vae.name}' needs {vae.latent_channels}: it is {vae.title}. Use the VAE of the model that "
        "made the latent."
    )
