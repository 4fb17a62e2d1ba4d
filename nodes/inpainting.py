"""Inpainting: MASK and IMAGE of ComfyUI to what `vae_core.images` works with, and back."""

from typing import Any

import torch
from torch import Tensor

from ..vae_core import BadPixels, BadRequest, images
from .images import demand_image, to_image

NEUTRAL = 0.5  # grey, which is 0 for an encoder


def fit_mask(mask: Any, image: Tensor) -> Tensor:
    """MASK -> (B or 1, 1, H, W) in [0, 1], in the size of an IMAGE and on its device. Raises BadRequest."""
    image = demand_image(image)
    found = images.masks.resize(mask, (image.shape[1], image.shape[2])).to(image.device)
    if len(found) not in (1, len(image)):
        raise BadRequest(f"there are {len(found)} masks for {len(image)} images: give one, or one for each.")
    return found


def grey_out(image: Tensor, mask: Any) -> Tensor:
    """Make an IMAGE grey where the mask is 1. Its alpha is kept."""
    hole = fit_mask(mask, image).round().movedim(1, -1)
    alphas = 1 - image.shape[-1] % 2
    colours, alpha = image.split([image.shape[-1] - alphas, alphas], -1)
    return torch.cat([torch.where(hole > 0, NEUTRAL, colours), alpha], -1)


def make_noise_mask(mask: Any, size: tuple[int, int], grow_by: int, ratio: int, crop: bool) -> Tensor:
    """The mask for a sampler: (B, 1, H, W) in the size that the latent covers, 1 in every latent pixel it touches."""
    area = images.masks.grow(images.masks.resize(mask, size), grow_by)
    return images.masks.cover_cells(images.crop_to(area, ratio) if crop else images.pad_to(area, ratio), ratio)


def composite_decoded(
    image: Tensor, pixels: Tensor, mask: Tensor, feather: int, match_colour: bool, ratio: int
) -> Tensor:
    """Composite decoded pixels (B, 3, H, W) into an IMAGE under a mask (B, 1, H, W). Where it is 0, no bit changes."""
    original = _grey_to_rgb(image.movedim(-1, 1))
    new = to_image(pixels).movedim(-1, 1).to(image.device)
    if len({len(original), len(new)} - {1}) > 1:
        raise BadRequest(f"{len(new)} images were decoded for {len(original)} originals: give one, or one for each.")
    new = _align(new, original, ratio)
    new = images.match_colours(new, original.to(new), mask).clamp(0, 1) if match_colour else new
    return images.composite(original, new, images.masks.feather(mask, feather)).movedim(1, -1).contiguous()


def _grey_to_rgb(original: Tensor) -> Tensor:
    """(B, 1 to 4, H, W) -> RGB with the alpha it has."""
    grey = original.shape[1] < 3
    return torch.cat([original[:, :1].expand(-1, 3, -1, -1), original[:, 1:]], 1) if grey else original


def _align(new: Tensor, original: Tensor, ratio: int) -> Tensor:
    """Bring decoded images to the original's size: crop what padding added, or put a cropped middle back in place."""
    (h, w), (height, width) = new.shape[-2:], original.shape[-2:]
    if max(abs(h - height), abs(w - width)) >= max(ratio, 1) or (h - height) * (w - width) < 0:
        raise BadPixels(
            f"the decoded image is {w}x{h}, the original {width}x{height}: connect the image that was encoded, and "
            "encode it in its own size."
        )
    if h >= height and w >= width:
        return new[..., :height, :width]
    top, left = (height - h) // 2, (width - w) // 2
    canvas = original[:, :3].to(new).expand(len(new), -1, -1, -1).clone()
    canvas[..., top : top + h, left : left + w] = new
    return canvas
