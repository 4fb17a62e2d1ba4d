"""Writes OpenEXR files, which hold light and not the values that screens take. (`vae_core.readers` reads them.)"""

from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..vae_core.images import to_light

SUFFIX, FORMAT = ".exr", "EXR"
CHANNELS = {1: "Y", 3: "RGB", 4: "RGBA"}  # how the package names them together
REC_709 = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)  # sRGB's red, green, blue and white: x, y


def levels(image: Tensor, bits: int) -> np.ndarray:
    """Image (H, W, C) of values, white 1, any float dtype -> light (H, W, C), floats of 32 or 16 bits.

    Values outside [0, 1] are kept. Colours are multiplied by alpha, as in all OpenEXR files.
    """
    values = image.float().cpu()
    light = to_light(values)
    if image.shape[-1] == 4:
        light = torch.cat([light[..., :3] * values[..., 3:], values[..., 3:]], -1)
    return light.to(torch.float16 if bits == 16 else torch.float32).numpy()


def write(path: Path, light: np.ndarray) -> None:
    """Write light (H, W, C), C 1, 3 or 4, as `levels` gives it."""
    exr = import_module("OpenEXR")
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage, "chromaticities": REC_709}
    name = CHANNELS[light.shape[-1]]
    pixels = np.ascontiguousarray(light[..., 0] if name == "Y" else light)
    exr.File(header, {name: pixels}).write(str(path))
