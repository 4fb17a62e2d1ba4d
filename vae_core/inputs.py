"""Checks what a VAE is given, and lays it out as networks run it. Nothing is checked again further in.

Networks run on batches of images, (B, C, H, W). Only a VAE of clips sees a clip as more than so many images; it runs
clips, (B, C, T, H, W).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Protocol

import torch
from torch import Tensor

from .devices.dtypes import at_least_fp32
from .errors import BadPixels, BadRequest, LatentMismatch
from .execution.options import RunOptions
from .families import ClipLaw, Config, Half, Network, demand_size_of
from .images.pixels import lay_out, pad_to, padding
from .images.plausible import demand_range
from .latents import spaces
from .latents.numbers import demand_latent, demand_numbers
from .latents.packing import SPACES, find_packing
from .plain import describe, name_need


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

    def fold_to(self, device: torch.device, dtype: torch.dtype, x: Tensor) -> Tensor:
        """x as it was given -> x as it is run, on this device and in this dtype. No gradients are recorded."""
        return self.fold(x.detach().to(device, dtype))

    def fold_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of x as it was given -> that of x as it is run."""
        return tuple(shape)

    def unfold(self, x: Tensor) -> Tensor:
        """The result of the run -> the result in the layout that was given."""
        return x


@dataclass(frozen=True)
class FramesAsImages(Folding):
    """(B, C, T, H, W) <-> (B * T, C, H, W): every frame is an image to this VAE."""

    frames: int

    def fold(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(0, 1)

    @torch.no_grad()
    def fold_to(self, device: torch.device, dtype: torch.dtype, x: Tensor) -> Tensor:
        """Several clips lie otherwise than their frames as images do: they are cast while they are laid out."""
        if 1 in (len(x), self.frames):
            return super().fold_to(device, dtype, x)
        b, c, t, h, w = x.shape
        made = torch.empty((b * t, c, h, w), dtype=dtype, device=device, memory_format=torch.channels_last)
        for clip, images in zip(x.transpose(1, 2), made.split(t), strict=True):
            images.copy_(clip)
        return made

    def fold_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        b, c, t, *size = shape
        return (b * t, c, *size)

    def unfold(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (-1, self.frames)).transpose(1, 2)


class ImagesAsClips(Folding):
    """(B, C, H, W) <-> (B, C, 1, H, W): an image is run as a clip of one frame, and its last frame is the result."""

    def fold(self, x: Tensor) -> Tensor:
        return x[:, :, None]

    def fold_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (*shape[:2], 1, *shape[2:])

    def unfold(self, x: Tensor) -> Tensor:
        return x[:, :, -1]


class OneFrameClips(Folding):
    """(B, C, 1, H, W): as they are; of the frames that come of it the last one is the result."""

    def unfold(self, x: Tensor) -> Tensor:
        return x[:, :, -1:]


RunOne = Callable[[Tensor, Folding, RunOptions], Tensor]  # of x as it was given


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
    """Check pixels' shape, dtype and values -> (the pixels as they were given, how they are laid out to be run).

    pixels: (B, C, H, W) or (B, C, T, H, W), floating-point, in [-1, 1] or not far beyond. Raises BadPixels.
    """
    if need := name_need(pixels):
        raise BadPixels(f"pixels must be {need}.")
    shape = tuple(pixels.shape)
    if len(shape) not in (4, 5) or shape[1] != vae.in_channels or 0 in shape:
        raise BadPixels(
            f"these pixels are {describe(pixels)}: '{vae.name}' encodes floating-point pixels of shape "
            f"(B, {vae.in_channels}, H, W) or (B, {vae.in_channels}, T, H, W)."
        )
    demand_size_of(vae, vae.name, Half.ENCODER, shape)
    demand_range(pixels)
    return pixels, choose_folding(vae.network.clip_law, shape)


def check_rows(vae: VAELike, source: object) -> tuple[int, int, int]:
    """The shape of an image that is read row by row, (C, H, W). Raises BadPixels unless this VAE encodes such."""
    return _check_pieces(vae, "image", "H, W", source)  # type: ignore[return-value]


def check_frames(vae: VAELike, source: object) -> tuple[int, int, int, int]:
    """The shape of a clip that is read frame by frame, (C, T, H, W). Raises BadPixels unless this VAE encodes such."""
    return _check_pieces(vae, "clip", "T, H, W", source)  # type: ignore[return-value]


def _check_pieces(vae: VAELike, what: str, sizes: str, source: object) -> tuple[int, ...]:
    shape: Any = getattr(source, "shape", None)
    if not hasattr(source, "shape") or not callable(getattr(source, "read", None)):
        raise BadPixels(
            f"{type(source).__name__} is no source of this {what}: it has a `shape`, (C, {sizes}), and `read()` gives "
            "all of it piece by piece; what is in memory is for `encode`."
        )
    dims = 1 + len(sizes.split(", "))
    counted = isinstance(shape, Sequence) and len(shape) == dims and all(isinstance(n, Integral) for n in shape)
    if not counted or min(shape) < 1 or shape[0] != vae.in_channels:
        raise BadPixels(f"this {what} is {str(shape)[:60]}: '{vae.name}' encodes ({vae.in_channels}, {sizes}).")
    demand_size_of(vae, vae.name, Half.ENCODER, shape)
    return tuple(shape)


def check_latent(vae: VAELike, z: Tensor, size: tuple[int, int] | None) -> tuple[Tensor, Folding]:
    """Check a latent's shape, dtype and values -> (the latent as it was given, how it is laid out to be run).

    z: (B, latent_channels, h, w) or (B, latent_channels, T, h, w), floating-point. size: (H, W) to crop its image to.
    Raises LatentMismatch, NumericalOverflow for numbers that no latent has, and BadRequest for a size below 1.
    """
    if packed := find_packing(demand_latent(z)):
        raise LatentMismatch(
            f"this latent of shape {tuple(z.shape)} is packed, as pipelines of {SPACES[packed.space].models} return "
            "it: unpack it with Convert Latent (Exact), or latents.unpack."
        )
    if z.ndim not in (4, 5) or 0 in z.shape:
        raise LatentMismatch(
            f"this is no latent, but {describe(z)}: a latent is floating-point of shape (B, C, h, w) or "
            "(B, C, T, h, w)."
        )
    if z.shape[1] != vae.latent_channels:
        raise LatentMismatch(_describe_mismatch(vae, z))
    demand_size_of(vae, vae.name, Half.DECODER, z.shape)
    demand_numbers(z)
    demand_size(size, z.shape, vae.spatial_ratio)
    return z, choose_folding(vae.network.clip_law, z.shape)


def check_masked_image(
    vae: VAELike, image: Tensor | None, mask: Tensor | None, latent_shape: Sequence[int], grad: bool
) -> Tensor | None:
    """What a decoder sees beside its latent: the image, 0 where the mask is 1, and the mask; None if neither is given.

    image         (B, C, H, W) in [-1, 1]
    mask          (B, 1, H, W) in [0, 1]
    latent_shape  (B, latent_channels, h, w), checked
    grad          are gradients recorded, of the image and the mask too?
    Returns (B, C + 1, H', W') on the VAE's device, in its dtype; H', W' are multiples of the ratio.
    Raises BadRequest if the VAE takes none or one is missing, BadPixels and LatentMismatch for shapes and values.
    """
    if image is None and mask is None:
        return None
    if not vae.network.masked_decode_ops():
        raise BadRequest(f"'{vae.name}' cannot decode with an image and a mask: it is {vae.title}.")
    if image is None or mask is None:
        raise BadRequest("give an image and a mask, or neither.")
    given, folding = check_pixels(vae, image)
    if need := name_need(mask):
        raise BadPixels(f"a mask must be {need}.")
    pixels, masks = folding.fold(given), choose_folding(vae.network.clip_law, mask.shape).fold(mask)
    n, _, h, w = pixels.shape
    if masks.shape != (n, 1, h, w) or not (masks.amin() >= 0 and masks.amax() <= 1):
        raise BadPixels(
            f"this mask has shape {tuple(mask.shape)}: for an image of shape {tuple(image.shape)} it needs one "
            "channel, the same size, and numbers in [0, 1]."
        )
    size, (below, right, _) = latent_shape[2:], padding(h, w, vae.spatial_ratio)
    if (h + below, w + right) != tuple(n * vae.spatial_ratio for n in size) or n != latent_shape[0]:
        raise LatentMismatch(f"a latent of shape {tuple(latent_shape)} is not of images of shape {tuple(image.shape)}.")
    x = _join_masks(vae, pixels, masks) if grad else _join_each_mask(vae, pixels, masks)
    return lay_out(pad_to(x, vae.spatial_ratio))


def _join_masks(vae: VAELike, pixels: Tensor, masks: Tensor) -> Tensor:
    """Pixels (B, C, H, W), 0 where the masks (B, 1, H, W) are 1, and the masks: (B, C + 1, H, W), as the VAE runs."""
    pixels, masks = (t.to(vae.device, at_least_fp32(vae.dtype)) for t in (pixels, masks))
    return torch.cat([pixels * (1 - masks), masks], 1).to(vae.dtype)


@torch.no_grad()
def _join_each_mask(vae: VAELike, pixels: Tensor, masks: Tensor) -> Tensor:
    """The same, image by image: no more than one is in fp32."""
    n, c, *size = pixels.shape
    x = torch.empty((n, c + 1, *size), dtype=vae.dtype, device=vae.device, memory_format=torch.channels_last)
    for i in range(n):
        x[i : i + 1].copy_(_join_masks(vae, pixels[i : i + 1], masks[i : i + 1]))
    return x


def demand_size(size: object, latent_shape: Sequence[int], ratio: int) -> None:
    """Raise BadRequest unless size is None or (H, W), no larger than what a latent of this shape decodes to."""
    if size is None:
        return
    if not isinstance(size, Sequence) or len(size) != 2 or not all(isinstance(n, Integral) for n in size):
        raise BadRequest(f"an image cannot be cropped to {str(size)[:60]}: give (height, width), two whole numbers.")
    h, w = (n * ratio for n in latent_shape[-2:])
    if not (0 < size[0] <= h and 0 < size[1] <= w):
        raise BadRequest(f"an image of {w}x{h} cannot be cropped to {size[1]}x{size[0]}.")


def demand_no_tiles(options: RunOptions) -> RunOptions:
    """The options themselves. Raises BadRequest if they ask for tiles or gradients, of what is run piece by piece."""
    if options.tiles:
        raise BadRequest("an image that comes or goes row by row is not run in blended tiles: leave the tiles away.")
    if options.grad:
        raise BadRequest("what comes or goes piece by piece has no gradients: use `encode` or `decode`.")
    return options


def _describe_mismatch(vae: VAELike, z: Tensor) -> str:
    channels = z.shape[1]
    whose = spaces.name_models(channels)
    is_z = channels * 4 == vae.latent_channels
    advice = "; if it is z before it is patchified, as diffusers' encoder gives it, use latents.latent_of_z"
    return (
        f"this latent has {channels} channels (shape {tuple(z.shape)}{f', as of {whose}' if whose else ''}), but "
        f"'{vae.name}' needs {vae.latent_channels}: it is {vae.title}. Use the VAE of the model that "
        f"made the latent{advice if is_z else ''}."
    )
