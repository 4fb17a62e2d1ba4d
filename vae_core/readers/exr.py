"""OpenEXR images. They hold light, not the values that screens take, so they are converted. Needs the package OpenEXR.

The colours are those of Rec. 709, as of sRGB, unless the file says other ones, and are multiplied by alpha.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..images.light import from_light
from .source import NotRead, demand_finite

NAMES = {("R", "G", "B"): 3, ("Y",): 1}  # channels of the main layer -> how many colours they are
REC_709 = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)  # of red, green, blue and white: x, y
DAMAGED = "it is an OpenEXR image that is damaged or cut short: copy or download it again"
SAME = 0.001  # as far as chromaticities are written down


class ExrImage:
    """The first part of a file: its main layer, and alpha if it has it."""

    frames = 1

    def __init__(self, path: Path):
        self.path, self._exr = path, _import_openexr()
        header = self._open(header_only=True).header()
        self.names = _choose_names(header)
        _demand_rec_709(header)
        self.height, self.width = _size(header, "dataWindow")
        if _size(header, "displayWindow") != (self.height, self.width):
            raise NotRead("its pixels are not those of its frame (data window, display window): crop it to its frame")

    def read(self) -> Iterator[Tensor]:
        levels = self._read_channels()
        if any(one.dtype.kind != "f" or one.shape != (self.height, self.width) for one in levels):
            raise NotRead("its numbers are no floats for each pixel: save it flat, with half or float channels")
        light = demand_finite(torch.from_numpy(np.stack([one.astype(np.float32) for one in levels], -1)))
        yield from_alpha(light) if self.names[-1] == "A" else from_light(light)

    def _read_channels(self) -> list[np.ndarray]:
        file = self._open(separate_channels=True)
        if not file.parts:  # the library has printed why
            raise NotRead(DAMAGED)
        found = file.channels()
        return [found[name].pixels for name in self.names]

    def _open(self, **how: bool) -> Any:
        try:
            return self._exr.File(str(self.path), **how)
        except (RuntimeError, ValueError) as error:
            raise NotRead(DAMAGED) from error


def from_alpha(light: Tensor) -> Tensor:
    """Light (..., C) that is multiplied by its last channel -> values (..., C). Where alpha is 0 it is left so."""
    alpha = light[..., -1:]
    return torch.cat([from_light(torch.where(alpha > 0, light[..., :-1] / alpha, light[..., :-1])), alpha], -1)


def _import_openexr() -> Any:
    try:
        return import_module("OpenEXR")
    except ModuleNotFoundError as error:
        raise NotRead("it needs OpenEXR: pip install OpenEXR") from error


def _choose_names(header: dict[str, Any]) -> tuple[str, ...]:
    found = {channel.name: channel for channel in header["channels"]}
    names = next((names for names in NAMES if all(name in found for name in names)), None)
    if names is None or (names == ("Y",) and "RY" in found):
        raise NotRead(f"its channels are {', '.join(found) or 'none'}: save R, G and B as its main layer")
    return (*names, "A") if "A" in found else names


def _demand_rec_709(header: dict[str, Any]) -> None:
    said = header.get("chromaticities")
    if said is not None and not np.allclose(np.ravel(said), REC_709, atol=SAME):
        raise NotRead("its colours are not those of Rec. 709 (chromaticities): convert it to linear Rec. 709")


def _size(header: dict[str, Any], window: str) -> tuple[int, int]:
    (left, top), (right, bottom) = header[window]
    return int(bottom) - int(top) + 1, int(right) - int(left) + 1
