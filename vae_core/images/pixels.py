"""What is done to an image before it is encoded and after it was decoded: its range, its channels, its size.

VAEs work with pixels in [-1, 1], images have values in [0, 1], and files have levels 0 to 255. An image here is
(B, C, H, W) in [0, 1] with 1 channel (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).
"""

import re

import torch
from torch import Tensor

from ..devices.numerics import pad
from ..errors import BadPixels, BadRequest

AUTOMATIC, DROP, COMPOSITE, KEEP = ALPHA = ("automatic", "drop", "composite", "keep")


def to_unit_range(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1] -> image values in [0, 1]. Any shape and floating dtype; values outside are not clamped."""
    return (pixels + 1) / 2


def to_pixel_range(image: Tensor) -> Tensor:
    """Image values in [0, 1] -> pixels in [-1, 1]. Any shape and floating dtype; values outside are not clamped."""
    return image * 2 - 1


def to_levels(image: Tensor) -> Tensor:
    """Image values in [0, 1] -> the nearest of the levels 0 to 255, uint8. Any shape; values outside are clamped."""
    return (image * 255).round().clamp(0, 255).to(torch.uint8)


def convert_channels(
    image: Tensor, channels: int, alpha: str = AUTOMATIC, background: str = "#ffffff"
) -> tuple[Tensor, str]:
    """Give an image the number of channels that a VAE takes. Grey is repeated.

    image       (B, 1 to 4, H, W) in [0, 1], any floating dtype
    channels    3, or 4 for a VAE with alpha
    alpha       'automatic': alpha is kept if there is a channel for it and left out otherwise.
                'drop': alpha is left out; a fourth channel is 1.
                'composite': the image is laid over the background; a fourth channel is 1.
                'keep': alpha is kept.
    background  '#rrggbb', for 'composite'
    Returns (image (B, channels, H, W) in the same dtype, a note on what happened to transparency, '' if nothing did).
    Raises BadRequest for 'keep' without a channel for alpha, and for a background that is no colour.
    """
    colours, opacity = _split(image)
    if alpha == COMPOSITE:
        colours, opacity = composite_over(colours, opacity, background), torch.ones_like(opacity)
    if alpha == DROP:
        opacity = torch.ones_like(opacity)
    if channels == 4:
        return torch.cat([colours, opacity], 1), ""
    demand_alpha(channels, alpha, background)
    lost = alpha == AUTOMATIC and bool((opacity < 1).any())
    return colours[:, :channels], "transparency is left out" if lost else ""


def demand_alpha(channels: int, alpha: str, background: str) -> None:
    """Raises BadRequest for what `convert_channels` would not do for any image: see there."""
    if alpha == COMPOSITE:
        parse_colour(background)
    if alpha == KEEP and channels < 4:
        raise BadRequest(f"a VAE of {channels} channels cannot keep alpha: choose to drop or to composite it.")


def composite_over(colours: Tensor, opacity: Tensor, background: str) -> Tensor:
    """Lay colours (B, 3, H, W) with opacity (B, 1, H, W), both in [0, 1], over '#rrggbb'. -> (B, 3, H, W) in [0, 1]"""
    return torch.lerp(parse_colour(background).to(colours)[:, None, None], colours, opacity)


def parse_colour(colour: str) -> Tensor:
    """'#ff8000' or 'ff8000' -> (3,) in [0, 1], float32. Raises BadRequest for anything else."""
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", colour.strip()):
        raise BadRequest(f"'{colour}' is no colour: write it as #rrggbb, white as #ffffff.")
    levels = list(bytes.fromhex(colour.strip().lstrip("#")))
    return torch.tensor(levels, dtype=torch.float32, device="cpu") / 255


def _split(image: Tensor) -> tuple[Tensor, Tensor]:
    """image -> (colours (B, 3, H, W), opacity (B, 1, H, W))"""
    grey = image.shape[1] < 3
    colours = image[:, :1].expand(-1, 3, -1, -1) if grey else image[:, :3]
    has_alpha = image.shape[1] in (2, 4)
    return colours, image[:, -1:] if has_alpha else torch.ones_like(image[:, :1])


def lay_out(x: Tensor) -> Tensor:
    """x (B, C, H, W), any range and dtype, in channels last with the strides of a new tensor; a view where it can be.

    The stride of a dimension of 1 says nothing, so one layout has many strides. Torch and its backends choose kernels
    by them, and kernels round differently: a view of (H, W, C) gave other bits than a copy of it.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    _, c, h, w = x.shape
    return x.as_strided(x.shape, (h * w * c, 1, w * c, c))


def padding(h: int, w: int, ratio: int) -> tuple[int, int, str]:
    """(rows to add below, columns to add at the right, mode of `F.pad`). Small images cannot be mirrored."""
    below, right = -h % ratio, -w % ratio
    return below, right, "reflect" if below < h and right < w else "replicate"


def pad_to(x: Tensor, ratio: int) -> Tensor:
    """Pad images to multiples of the ratio, below and at the right, by their mirror image.

    x: (..., H, W), 3 to 5 dimensions, any range and dtype. Returns x itself if nothing is missing.
    """
    below, right, how = padding(x.shape[-2], x.shape[-1], ratio)
    return pad(x, (0, right, 0, below), how) if below or right else x


def crop_to(x: Tensor, ratio: int) -> Tensor:
    """Crop images to multiples of the ratio, keeping their middle. An odd row or column is lost below or at the right.

    x: (..., H, W), any range and dtype. Returns a view. Raises BadPixels for images smaller than the ratio.
    """
    h, w = x.shape[-2:]
    high, wide = h - h % ratio, w - w % ratio
    if not high or not wide:
        raise BadPixels(f"an image of {w}x{h} has nothing left when it is cropped to multiples of {ratio}: pad it.")
    top, left = (h - high) // 2, (w - wide) // 2
    return x[..., top : top + high, left : left + wide]


def repeat_last_frame(x: Tensor, missing: int) -> Tensor:
    """Continue a clip (T, C, H, W) by its last frame -> (T + missing, C, H, W)."""
    return torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x


def flatten_frames(latent: Tensor) -> Tensor:
    """(B, C, T, h, w) -> (B * T, C, h, w), any range and dtype; images are returned as they are."""
    return latent.transpose(1, 2).flatten(0, 1) if latent.ndim == 5 else latent
