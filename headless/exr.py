"""Writes OpenEXR files, which hold light and not the values that screens take. (`vae_core.readers` reads them.)"""

import errno
import math
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..vae_core.errors import BadRequest
from ..vae_core.images import to_light

SUFFIX, FORMAT = ".exr", "EXR"
CHANNELS = {1: "Y", 3: "RGB", 4: "RGBA"}  # how the package names them together
# Red, green, blue and white: x, y. ITU-R BT.709-6 (sRGB has the same) and BT.2020-2, table 3 of each.
REC_709 = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
REC_2020 = (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329)
SRGB_SLOPE = 12.92  # IEC 61966-2-1
HLG_A = 0.17883277  # ITU-R BT.2100-2, table 5: the inverse of HLG's OETF, with b = 1 - 4 a and c = 0.5 - a ln(4 a)


def levels(image: Tensor, bits: int) -> np.ndarray:
    """Image (H, W, C) of values, white 1, any float dtype -> light (H, W, C), floats of 32 or 16 bits.

    Values outside [0, 1] are kept. Colours are multiplied by alpha, as in all OpenEXR files.
    """
    values = image.float().cpu()
    light = to_light(values)
    if image.shape[-1] == 4:
        light = torch.cat([light[..., :3] * values[..., 3:], values[..., 3:]], -1)
    return light.to(torch.float16 if bits == 16 else torch.float32).numpy()


def write(
    path: Path, light: np.ndarray, texts: Mapping[str, str] | None = None, colours: tuple[float, ...] = REC_709
) -> None:
    """Write light (H, W, C), C 1, 3 or 4, as `levels` gives it. texts: kept in the file. colours: of the light.

    Raises BadRequest if OpenEXR is not installed, and OSError if the disk does not take it, as a full one.
    """
    if find_spec("OpenEXR") is None:
        raise BadRequest("an .exr file is written by OpenEXR, which is not installed: pip install OpenEXR.")
    exr = import_module("OpenEXR")
    kept = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage, "chromaticities": colours}
    name = CHANNELS[light.shape[-1]]
    pixels = np.ascontiguousarray(light[..., 0] if name == "Y" else light)
    file = exr.File({**(texts or {}), **kept}, {name: pixels})
    try:
        file.write(str(path))
    except RuntimeError as e:  # the system's reason is at its end: 'Cannot open image file "a.exr". Permission denied.'
        raise OSError(errno.EIO, str(e).strip().rpartition('". ')[2].rstrip(".")) from e


def write_as_core(path: Path, image: Tensor, texts: Mapping[str, str], space: str) -> None:
    """Write as ComfyUI's SaveImageAdvanced does, which leaves colours as they are beside alpha.

    image: (H, W, C), C 1, 3 or 4. space: what its numbers are, "sRGB", "HDR" (HLG in BT.2020) or "linear".
    """
    colours = image[..., :3].double()
    light = {"sRGB": _continue_srgb, "HDR": _from_hlg, "linear": torch.Tensor.double}[space](colours)
    light = torch.cat([light, image[..., 3:].double()], -1).float().cpu().numpy()
    write(path, light, texts, REC_2020 if space == "HDR" else REC_709)


def _continue_srgb(values: Tensor) -> Tensor:
    """As `to_light`, but below 0 the line of the toe goes on."""
    return torch.where(values < 0, values / SRGB_SLOPE, to_light(values))


def _from_hlg(values: Tensor) -> Tensor:
    b, c = 1 - 4 * HLG_A, 0.5 - HLG_A * math.log(4 * HLG_A)
    return torch.where(values <= 0.5, values.square() / 3, (((values - c) / HLG_A).exp() + b) / 12)
