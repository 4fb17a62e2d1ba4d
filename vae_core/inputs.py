"""Checks what a VAE is given, and lays it out as networks run it. Nothing is checked again further in.

Networks run on batches of images, (B, C, H, W). Only a VAE of clips sees a clip as more than so many images; it runs
clips, (B, C, T, H, W).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .dtypes import at_least_fp32
from .errors import BadPixels, BadRequest, LatentMismatch, NumericalOverflow
from .execution.options import RunOptions
from .families import ClipLaw, Config, Network
from .images.pixels import lay_out, pad_to
from .latents import spaces

LARGEST_PIXEL = 100.0  # HDR images exceed 1, some by far; this tells an image in 0...255


class VAELike(Config, Protocol):
    """What the checks ask of a VAE. The facts are those of its config."""

    name: str
    network: Network

    @property
    def title(self) -> str: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...


class Folding:
    """How pixels or a latent are laid out for a run, and what is laid out so laid back. This one: as they are."""

    def fold(self, x: Tensor) -> Tensor:
        """x as it was given -> x as it is run."""
        return x

    def unfold(self, x: Tensor) -> Tensor:
        """The result of the run -> the result in the layout that was given."""
        return x


@dataclass(frozen=True)
class FramesAsImages(Folding):
    """(B, C, T, H, W) <-> (B * T, C, H, W): every frame is an image to this VAE."""

    frames: int

    def fold(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(0, 1)

    def unfold(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (-1, self.frames)).transpose(1, 2)


class ImagesAsClips(Folding):
    """(B, C, H, W) <-> (B, C, 1, H, W): an image is run as a clip of one frame, and its last frame is the result."""

    def fold(self, x: Tensor) -> Tensor:
        return x[:, :, None]

    def unfold(self, x: Tensor) -> Tensor:
        return x[:, :, -1]


class OneFrameClips(Folding):
    """(B, C, 1, H, W): as they are; of the frames that come of it the last one is the result."""

    def unfold(self, x: Tensor) -> Tensor:
        return x[:, :, -1:]


def choose_folding(law: ClipLaw | None, shape: Sequence[int]) -> Folding:
    """shape: (B, C, H, W) or (B, C, T, H, W). One frame is an image to most VAEs of clips."""
    is_clip = len(shape) == 5
    frames = shape[2] if is_clip else 1
    if law and law.images_are_clips and frames == 1:
        return OneFrameClips() if is_clip else ImagesAsClips()
    if is_clip and (law is None or frames == 1):
        return FramesAsImages(frames)
    return Folding()


def check_pixels(vae: VAELike, pixels: Tensor) -> tuple[Tensor, Folding]:
    """Check pixels' shape, dtype and values -> (the pixels as they are run, how they were laid out).

    pixels: (B, C, H, W) or (B, C, T, H, W), floating-point, in [-1, 1] or not far beyond. Raises BadPixels.
    """
    if not isinstance(pixels, Tensor):
        raise BadPixels(f"pixels must be a tensor, not {type(pixels).__name__}.")
    shape = tuple(pixels.shape)
    fits = len(shape) in (4, 5) and shape[1] == vae.in_channels and 0 not in shape
    if not fits or not pixels.is_floating_point():
        raise BadPixels(
            f"these pixels are {str(pixels.dtype).removeprefix('torch.')} of shape {shape}: '{vae.name}' encodes "
            f"floating-point pixels of shape (B, {vae.in_channels}, H, W) or (B, {vae.in_channels}, T, H, W)."
        )
    check_range(pixels)
    folding = choose_folding(vae.network.clip_law, shape)
    return folding.fold(pixels), folding


def check_latent(vae: VAELike, z: Tensor, size: tuple[int, int] | None) -> tuple[Tensor, Folding]:
    """Check a latent's shape, dtype and values -> (the latent as it is run, how it was laid out).

    z: (B, latent_channels, h, w) or (B, latent_channels, T, h, w), floating-point. size: (H, W) to crop its image to.
    Raises LatentMismatch, NumericalOverflow for numbers that are not finite, and BadRequest for a size below 1.
    """
    if size and min(size) < 1:
        raise BadRequest(f"an image cannot be cropped to {size[1]}x{size[0]}.")
    if not isinstance(z, Tensor):
        raise LatentMismatch(f"a latent must be a tensor, not {type(z).__name__}.")
    if z.ndim not in (4, 5) or 0 in z.shape or not z.is_floating_point():
        raise LatentMismatch(
            f"this is no latent, but {str(z.dtype).removeprefix('torch.')} of shape {tuple(z.shape)}: a latent is "
            "floating-point of shape (B, C, h, w) or (B, C, T, h, w)."
        )
    if z.shape[1] != vae.latent_channels:
        raise LatentMismatch(_describe_mismatch(vae, z))
    if not torch.isfinite(z).all():
        raise NumericalOverflow("this latent holds NaN or infinity: it was broken before it came to the VAE.")
    folding = choose_folding(vae.network.clip_law, z.shape)
    return folding.fold(z), folding


def check_masked_image(vae: VAELike, image: Tensor | None, mask: Tensor | None, z: Tensor) -> Tensor | None:
    """What a decoder sees beside its latent: the image, 0 where the mask is 1, and the mask; None if neither is given.

    image  (B, C, H, W) in [-1, 1]
    mask   (B, 1, H, W) in [0, 1]
    z      (B, latent_channels, h, w), checked
    Returns (B, C + 1, H', W') on the VAE's device, in its dtype; H', W' are multiples of the ratio.
    Raises BadRequest if the VAE takes none or one is missing, BadPixels and LatentMismatch for shapes and values.
    """
    if image is None and mask is None:
        return None
    if not vae.network.masked_decode_ops():
        raise BadRequest(f"'{vae.name}' cannot decode with an image and a mask: it is {vae.title}.")
    if image is None or mask is None:
        raise BadRequest("give an image and a mask, or neither.")
    pixels, _ = check_pixels(vae, image)
    masks = choose_folding(vae.network.clip_law, mask.shape).fold(mask)
    if masks.shape != (len(pixels), 1, *pixels.shape[-2:]) or not (masks.amin() >= 0 and masks.amax() <= 1):
        raise BadPixels(
            f"this mask has shape {tuple(mask.shape)}: for an image of shape {tuple(image.shape)} it needs one "
            "channel, the same size, and numbers in [0, 1]."
        )
    exact = at_least_fp32(vae.dtype)
    pixels, masks = (t.to(vae.device, exact) for t in (pixels, masks))
    x = pad_to(torch.cat([pixels * (1 - masks), masks], 1), vae.spatial_ratio)
    if x.shape[2:] != tuple(n * vae.spatial_ratio for n in z.shape[2:]) or len(x) != len(z):
        raise LatentMismatch(f"a latent of shape {tuple(z.shape)} is not of images of shape {tuple(image.shape)}.")
    return lay_out(x.to(vae.dtype))


def check_range(x: Tensor) -> None:
    """x: pixels of any shape. Raises BadPixels for numbers that are not finite or far beyond [-1, 1]."""
    x = x.detach()
    largest = max(-x.amin().item(), x.amax().item(), key=lambda n: (math.isnan(n), n))
    if not largest < LARGEST_PIXEL:  # also true of NaN
        found = f"reach {largest:g}" if math.isfinite(largest) else "hold NaN or infinity"
        raise BadPixels(f"these pixels {found}: an image's must be numbers in [-1, 1] (an IMAGE's in [0, 1]).")


def demand_no_tiles(options: RunOptions) -> RunOptions:
    """The options themselves. Raises BadRequest if they ask for tiles, of an image that is run row by row."""
    if options.tiles:
        raise BadRequest("an image that comes or goes row by row is not run in blended tiles: leave the tiles away.")
    return options


def _describe_mismatch(vae: VAELike, z: Tensor) -> str:
    channels = z.shape[1]
    whose = spaces.name_models(channels)
    return (
        f"this latent has {channels} channels (shape {tuple(z.shape)}{f', as of {whose}' if whose else ''}), but "
        f"'{vae.name}' needs {vae.latent_channels}: it is {vae.title}. Use the VAE of the model that "
        "made the latent."
    )
