"""Pixels from and to what programs hold images in: numpy's arrays and torch's bytes; pillow.py has Pillow's images.

Pixels are (B, C, H, W) in [-1, 1], float32. Levels of 8 bits, and of 16, have white at their largest number.
"""

import numpy as np
import torch
from torch import Tensor

from ..errors import BadPixels, BadRequest
from ..plain import name_kind
from .pixels import convert_channels, flatten_frames, to_levels, to_pixel_range, to_unit_range
from .plausible import demand_range

WHITES = {"uint8": 255, "uint16": 65535}  # by the name of the dtype
MOST_CHANNELS = 4  # red, green, blue, alpha
LOWEST = -0.5  # of an image in [0, 1]: filters that resample overshoot by less, pixels in [-1, 1] go lower


def from_numpy(array: np.ndarray, channels: int = 3) -> Tensor:
    """(H, W), (H, W, C) or (B, H, W, C): uint8, uint16, or floating in [0, 1] -> pixels (B, channels, H, W) in [-1, 1].

    C is 1 (grey), 2 (grey and alpha), 3 or 4, as `convert_channels` takes them. The result is float32.
    Raises BadPixels for any other array.
    """
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise BadPixels(f"an array (H, W), (H, W, C) or (B, H, W, C) is needed, not {describe(array)}.")
    white = WHITES.get(array.dtype.name)
    if white is None and array.dtype.kind != "f":
        raise BadPixels(f"an array of uint8, uint16 or floating numbers in [0, 1] is needed, not {describe(array)}.")
    shaped = array[None, ..., None] if array.ndim == 2 else array if array.ndim == 4 else array[None]
    values = np.ascontiguousarray(shaped).astype(np.float32) / np.float32(white or 1)
    return _to_pixels(torch.from_numpy(values).movedim(-1, 1), channels)


def to_numpy(pixels: Tensor, *, levels: bool = False) -> np.ndarray:
    """Pixels (B, C, H, W) or (B, C, T, H, W) about [-1, 1] -> (B, H, W, C), a clip's frames one after the other.

    levels   the nearest of the levels 0 to 255, uint8; otherwise numbers in [0, 1], float32. Both are clamped.
    Raises BadPixels for another shape or dtype, NaN or infinity.
    """
    image = _to_images(pixels).movedim(1, -1)
    return (to_levels(image) if levels else image.clamp(0, 1)).contiguous().cpu().numpy()


def from_uint8(levels: Tensor, channels: int = 3) -> Tensor:
    """Levels (C, H, W) or (B, C, H, W), uint8, as torchvision reads them -> pixels (B, channels, H, W) in [-1, 1].

    On the same device, float32. C is 1 to 4, as `convert_channels` takes them. Raises BadPixels for another tensor.
    """
    if not isinstance(levels, Tensor) or levels.dtype is not torch.uint8 or levels.ndim not in (3, 4):
        raise BadPixels(f"levels (C, H, W) or (B, C, H, W) of uint8 are needed, not {describe(levels)}.")
    batch = levels if levels.ndim == 4 else levels[None]
    return _to_pixels(batch.float() / WHITES["uint8"], channels)


def to_uint8(pixels: Tensor) -> Tensor:
    """Pixels about [-1, 1] -> the nearest of the levels 0 to 255, uint8, of the same shape on the same device.

    pixels: (B, C, H, W) or (B, C, T, H, W). Numbers beyond are clamped. Raises BadPixels for another shape or dtype,
    NaN or infinity.
    """
    return to_levels(to_unit_range(_demand_pixels(pixels)))


def _to_pixels(image: Tensor, channels: int) -> Tensor:
    """(B, C, H, W) in [0, 1] -> pixels (B, channels, H, W)"""
    if channels not in (1, 3, 4):
        raise BadRequest(f"pixels cannot have {channels} channels: a VAE takes 1, 3 or 4.")
    if not 1 <= image.shape[1] <= MOST_CHANNELS or 0 in image.shape:
        raise BadPixels(
            f"an image has 1 to {MOST_CHANNELS} channels and some pixels: this one has {tuple(image.shape[1:])}."
        )
    demand_range(image, "these images")
    if image.amin() < LOWEST:
        raise BadPixels(
            f"these images reach {image.amin():g}: their numbers must be in [0, 1]; pixels in [-1, 1] stay."
        )
    return to_pixel_range(convert_channels(image, channels)[0]).contiguous()


def _to_images(pixels: Tensor) -> Tensor:
    """-> (B, C, H, W), float32, not clamped"""
    return flatten_frames(to_unit_range(_demand_pixels(pixels)))


def _demand_pixels(pixels: Tensor) -> Tensor:
    """The pixels in float32. Raises BadPixels for what is no (B, C, H, W) or (B, C, T, H, W), and for NaN."""
    good = isinstance(pixels, Tensor) and pixels.is_floating_point() and pixels.ndim in (4, 5)
    if good and (kind := name_kind(pixels)):
        raise BadPixels(f"pixels in a dense tensor are needed, not in a {kind} one.")
    if not good or not 1 <= pixels.shape[1] <= MOST_CHANNELS:
        raise BadPixels(f"pixels (B, C, H, W) or (B, C, T, H, W) in [-1, 1] are needed, not {describe(pixels)}.")
    exact = pixels.detach().float()  # float8 cannot be asked
    if not exact.isfinite().all():
        raise BadPixels("these pixels hold NaN or infinity, which would be black: what made them overflowed.")
    return exact


def describe(x: object) -> str:
    """'uint8 of shape (2, 3)', or the name of a type that is no array"""
    if isinstance(x, Tensor | np.ndarray):
        return f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"
    return type(x).__name__
