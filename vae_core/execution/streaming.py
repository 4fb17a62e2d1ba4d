"""Encode images that are read row by row, and decode to rows: neither is in memory as a whole.

A run in bands reads its source and makes its result from the top, so both may be files larger than memory.
"""

from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ..devices.dtypes import at_least_fp32
from ..devices.numerics import pad, without_grad
from ..errors import BadPixels
from ..images.pixels import lay_out, padding
from ..ops import Ops
from ..plain import describe, name_need
from .bands.holding import Flow, Source
from .bands.readers import ROWS, Reader, Rows, height
from .plans.plan import Plan
from .run import gather, run, run_bands
from .whole import Observer

STRIP = 64  # rows of a band of an image that has run whole


class PixelRows(Protocol):
    """An image that can be read from its top, more than once."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        ...

    def read(self) -> Iterator[Tensor]:
        """All its rows from the top, in bands (C, n, W) of any n; floating-point, in [-1, 1]."""
        ...


@without_grad
def decode(
    ops: Ops, z: Tensor, plan: Plan, observer: Observer, size: tuple[int, int] | None
) -> Generator[Tensor, None, None]:
    """z: (1, C, h, w) -> the result in bands (1, C', n, W) from the top, cropped to size (H, W), in fp32 at least.

    ops: as `fuse` makes them. Raises as `run.run` does, with the band that fails.
    """
    z = lay_out(z)
    if plan.rows:
        bands = run_bands(ops, partial(Source, z), plan, observer, z.device)
    else:
        bands = iter(run(ops, z, plan, observer).split(STRIP, ROWS))
    left, width = size or plan.shape[1:]
    for band in bands:
        rows, made = band.shape[ROWS], [band[..., :left, :width].to(at_least_fp32(band.dtype), copy=True)]
        del band
        yield made.pop()
        left -= rows
        if left <= 0:
            return


@torch.no_grad()
def encode(ops: Ops, image: "StreamedImage", plan: Plan, observer: Observer) -> Tensor:
    """The result for the image, (1, C, h, w), in fp32 at least.

    ops: as `fuse` makes them. Raises as `run.run` does, and BadPixels if the rows are not what they say.
    """
    if not plan.rows:
        return run(ops, image.tensor(), plan, observer)
    result = torch.empty((1, *plan.shape), dtype=at_least_fp32(image.dtype), device=image.device)
    bands = run_bands(ops, lambda banding: ImageFlow(image, banding.numbers), plan, observer, image.device)
    gather(bands, result)
    return result


class StreamedImage:
    """Rows as an encoder reads them: continued to a multiple of the ratio, on its device and in its dtype.

    check: called with every band (C, n, W) of the rows; raises if it cannot be encoded.
    """

    def __init__(
        self, rows: PixelRows, ratio: int, device: torch.device, dtype: torch.dtype, check: Callable[[Tensor], object]
    ):
        self.rows, self.ratio, self.device, self.dtype, self.check = rows, ratio, device, dtype, check
        self.channels, h, w = rows.shape
        below, right, _ = padding(h, w, ratio)
        self.height, self.width = h + below, w + right

    def tensor(self) -> Tensor:
        """The whole image, (1, C, H, W)."""
        return next(self.bands(self.height))

    def bands(self, rows: int) -> Rows:
        """(1, C, rows, W) from the top, the last one with what is left."""
        reader = Reader(self._pad_rows())
        for top in range(0, self.height, rows):
            band = reader.read(min(rows, self.height - top))
            if top + rows >= self.height:
                reader.finish()
            yield lay_out(band.to(self.device, self.dtype))

    def _pad_rows(self) -> Rows:
        """The rows, continued as `pad_to` continues an image: bands (1, C, n, W) of any height."""
        _, h, w = self.rows.shape
        below, right, how = padding(h, w, self.ratio)
        end: Tensor | None = None
        for band in self._check_rows():
            band = pad(band, (0, right, 0, 0), how) if right else band
            end = (band if end is None else torch.cat([end, band], ROWS))[..., -(below + 1) :, :]
            yield band
        if below and end is not None:
            yield pad(end, (0, 0, 0, below), how)[..., end.shape[ROWS] :, :]

    def _check_rows(self) -> Rows:
        c, h, w = self.rows.shape
        found = 0
        for band in self.rows.read():
            if need := name_need(band):
                raise BadPixels(f"after {found} rows of this image a band must be {need}.")
            rows = band.shape[ROWS] if band.ndim == 3 else 0
            if rows < 1 or band.shape != (c, rows, w) or found + rows > h:
                raise BadPixels(
                    f"this image is ({c}, {h}, {w}), and after {found} of its rows comes {describe(band)}: give bands "
                    f"({c}, n, {w}), {h} rows in all."
                )
            found += rows
            self.check(band)
            yield band.unsqueeze(0)
        if found < h:
            raise BadPixels(f"this image ends after {found} of its {h} rows.")


class ImageFlow(Flow):
    """The same bands that `Source` makes of the image as a tensor."""

    def __init__(self, image: StreamedImage, numbers: int):
        self.image, self.numbers, self.rows = image, numbers, image.height

    def read(self, last: bool) -> Rows:
        return self.image.bands(height(self.image.channels * self.image.width, self.numbers))
