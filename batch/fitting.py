"""Brings an image to its bucket: resizes, crops or pads, mirrors."""

from importlib import import_module

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..vae_core import BadRequest
from ..vae_core.images import to_levels
from .records import Box, Record, Size

LANCZOS, BICUBIC, BILINEAR, BOX, AREA, TRAINER = FILTERS = ("lanczos", "bicubic", "bilinear", "box", "area", "trainer")
WHITE = 255
_PILLOW = {name: Image.Resampling[name.upper()] for name in (LANCZOS, BICUBIC, BILINEAR, BOX)}


def fit(image: Tensor, record: Record, how: str) -> Tensor:
    """image (H, W, C) in [0, 1], of the record's original size -> (H', W', C) of its bucket.

    how   one of FILTERS. 'trainer' is what sd-scripts and musubi do: 8 bits, the area of each pixel to shrink, Lanczos
          to enlarge
    """
    resized = resize(image, record.resized, how)
    cut = crop(resized, record.crop)
    return cut.flip(1) if record.flip else cut


def resize(image: Tensor, size: Size, how: str) -> Tensor:
    """image (H, W, C) in [0, 1] -> (H', W', C), float32; size is (width, height). Numbers stay within [0, 1]."""
    height, width = image.shape[:2]
    if how == TRAINER:
        image = to_levels(image).float() / WHITE
        if (width, height) == size:
            return image
        shrinks = width >= size[0] and height >= size[1]
        levels = to_levels(image).numpy()
        return torch.from_numpy(_by_area(levels, size) if shrinks else _by_pillow(levels, size)).float() / WHITE
    if (width, height) == size:
        return image
    if how == AREA:
        return torch.from_numpy(_by_area(image.numpy(), size)).clamp(0, 1)
    channels = [Image.fromarray(one.numpy()).resize(size, _PILLOW[how]) for one in image.movedim(-1, 0).contiguous()]
    return torch.from_numpy(np.stack([np.asarray(one) for one in channels], -1)).clamp(0, 1)


def demand_filter(how: str) -> None:
    """Raises BadRequest for a filter that is not there."""
    if how not in FILTERS:
        raise BadRequest(f"there is no filter '{how}': choose one of {', '.join(FILTERS)}.")
    if how in (AREA, TRAINER):
        _load_opencv()


def _load_opencv():
    try:
        return import_module("cv2")
    except ModuleNotFoundError as error:
        raise BadRequest(
            "the filter 'area', which trainers use, needs OpenCV: pip install opencv-python-headless, or choose "
            "--filter lanczos."
        ) from error


def _by_area(values: np.ndarray, size: Size) -> np.ndarray:
    cv2 = _load_opencv()
    return cv2.resize(np.ascontiguousarray(values), size, interpolation=cv2.INTER_AREA).reshape(
        size[1], size[0], values.shape[-1]
    )


def _by_pillow(levels: np.ndarray, size: Size) -> np.ndarray:
    """Levels (H, W, 3 or 4) of 8 bits. Alpha is resized by itself, so that Pillow does not multiply with it."""
    colours = np.asarray(Image.fromarray(levels[..., :3]).resize(size, Image.Resampling.LANCZOS))
    if levels.shape[-1] == 3:
        return colours.copy()
    alpha = np.asarray(Image.fromarray(levels[..., 3]).resize(size, Image.Resampling.LANCZOS))
    return np.concatenate([colours, alpha[..., None]], -1)


def crop(image: Tensor, box: Box) -> Tensor:
    """(H, W, C) -> what lies in the box; sides outside the image are continued by its edge."""
    left, top, right, bottom = box
    height, width = image.shape[:2]
    cut = image[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
    pads = (max(0, -left), max(0, right - width), max(0, -top), max(0, bottom - height))
    if not any(pads):
        return cut
    return F.pad(cut.movedim(-1, 0)[None], pads, mode="replicate")[0].movedim(0, -1)
