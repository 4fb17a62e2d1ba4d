"""ICC: colours of an image that says which space they are in, as sRGB."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

from ..vae_core import BadPixels
from ..vae_core.images import to_levels

WHITE = 255
SPACE = slice(16, 20)  # of the header of a profile: its colour space (ICC.1:2022, 7.2.8)


def to_srgb(path: Path, image: Tensor) -> Tensor:
    """image (H, W, 3 or 4) in [0, 1], as the file at this path gives it -> the same in sRGB, by its ICC profile.

    Colours are rounded to 8 bits, which is what littleCMS takes here. Without a profile the image is unchanged; so is
    one of a profile that is not of RGB, because its reader has made RGB of it. Raises BadPixels for a broken profile.
    """
    profile = read_profile(path)
    if profile is None:
        return image
    try:
        if profile[SPACE] != b"RGB ":
            return image
        origin = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        levels = Image.fromarray(to_levels(image[..., :3]).numpy())
        found = ImageCms.profileToProfile(levels, origin, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError) as error:
        raise BadPixels(f"cannot convert '{path.name}' to sRGB: its ICC profile is broken ({error}).") from error
    assert found is not None
    colours = torch.from_numpy(np.array(found)).float() / WHITE
    return torch.cat([colours, image[..., 3:]], -1)


def read_profile(path: Path) -> bytes | None:
    """The ICC profile in a file that Pillow knows."""
    try:
        with Image.open(path) as file:
            return file.info.get("icc_profile")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None
