"""Run an image in square tiles and fade each into its neighbours: approximate, and small in memory.

Each tile is run on its own. So group norms use the statistics of that tile, attention reads that tile only, and at
every cut the network reads zeros where the image goes on. Bands do none of this; tiles are here to compare them with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..devices.dtypes import at_least_fp32
from ..errors import BadRequest
from ..images.pixels import flatten_frames
from .parts import OnPart, Part
from .plans.plan import Plan
from .progress import Progress


@dataclass(frozen=True)
class Tiles:
    """How an image is cut. Raises BadRequest if such tiles cannot cover one.

    size     of a tile, in pixels of the image, both ways
    overlap  pixels that neighbours have in common
    """

    size: int = 512
    overlap: int = 64

    def __post_init__(self) -> None:
        if not (isinstance(self.size, Integral) and isinstance(self.overlap, Integral)):
            given = f"{str(self.size)[:60]!r} and {str(self.overlap)[:60]!r}"
            raise BadRequest(f"tiles have a size and an overlap in whole pixels, not {given}.")
        if self.size < 1 or self.overlap < 0:
            raise BadRequest(f"there are no tiles of {self.size} pixels that overlap by {self.overlap}.")
        if self.overlap >= self.size:
            raise BadRequest(
                f"tiles of {self.size} pixels cannot overlap by {self.overlap}: choose an overlap that is smaller than "
                "the tile, an eighth of it is usual."
            )

    def tile_shape(self, shape: tuple[int, ...], ratio: int) -> tuple[int, ...]:
        """The shape of one tile of (B, ..., H, W) that has one row to `ratio` of the image (1 for pixels)."""
        return (*shape[:-2], *(min(n, max(1, self.size // ratio)) for n in shape[-2:]))


@dataclass(frozen=True)
class TilePlan:
    """How an image is run in tiles.

    count  of tiles
    each   the plan for one of them
    """

    tiles: Tiles
    count: int
    each: Plan

    def __str__(self) -> str:
        """'blended, approximate: 6 tiles of 512 pixels, 64 shared; each whole; at most 812 MiB'"""
        if self.count == 1:
            return f"one tile, nothing to blend: {self.each}"
        tiles = f"{self.count} tiles of {self.tiles.size} pixels, {self.tiles.overlap} shared"
        return f"blended, approximate: {tiles}; each {self.each}"

    @property
    def summary(self) -> str:
        """'approximate, in 6 blended tiles, up to 812 MiB'"""
        if self.count == 1:
            return self.each.summary
        return f"approximate, in {self.count} blended tiles, {self.each.cost}"


class Span(NamedTuple):
    """Part of a side of an image, in pixels of the latent.

    before, after  how much of it the span before it, and the one after it, cover too
    """

    start: int
    end: int
    before: int
    after: int

    def of(self, scale: int) -> slice:
        return slice(self.start * scale, self.end * scale)


def run(
    one: Callable[..., Tensor],
    tiles: Tiles,
    ratio: int,
    x: Tensor,
    *,
    cell: int,
    on_plan: Callable[[Any], None] | None = None,
    progress: Progress | None = None,
    on_part: OnPart | None = None,
) -> Tensor:
    """Approximately one(x): x (B, C, H, W) -> (B, C', H', W') in fp32 at least. Exactly if one tile covers x.

    one    called with a tile (B, C, h, w), on_plan=, progress= and on_part=; gives (B, C', h', w')
    ratio  pixels of the image for one of the latent
    cell   rows of x for one of the latent: 1 to decode, `ratio` to encode; the last tile has the rest at the end
    Raises BadRequest if a tile is smaller than a pixel of the latent, and whatever `one` raises.
    """
    if tiles.size < ratio:
        raise BadRequest(
            f"tiles of {tiles.size} pixels are too small for a VAE that works at 1/{ratio}: choose {ratio} or more."
        )
    rows, columns = (spans(-(-n // cell), tiles.size // ratio, tiles.overlap // ratio) for n in x.shape[-2:])
    count = len(rows) * len(columns)
    canvas: _Canvas | None = None
    for i, (row, column) in enumerate(product(rows, columns)):
        on_plan_of_tile = partial(_report_plan, on_plan, tiles, count) if on_plan and not i else None
        progress_of_tile = partial(_report_progress, progress, i, count) if progress else None
        told = {"on_plan": on_plan_of_tile, "progress": progress_of_tile, "on_part": None}
        result = one(x[..., row.of(cell), column.of(cell)], **told)
        canvas = canvas or _Canvas(result, rows, columns)
        canvas.add(result, i)
        if on_part:
            on_part(canvas.part(result, i))
    assert canvas is not None
    return canvas.image


def spans(length: int, size: int, overlap: int) -> list[Span]:
    """Spans of one size that cover a side, evenly spread; neighbours have at least `overlap` in common.

    One span if the side is no longer than the size.
    """
    if length <= size:
        return [Span(0, length, 0, 0)]
    overlap = min(overlap, size - 1)
    last = -(-(length - size) // (size - overlap))
    starts = [round(i * (length - size) / last) for i in range(last + 1)]
    common = [0, *(a + size - b for a, b in pairwise(starts)), 0]
    return [Span(a, a + size, common[i], common[i + 1]) for i, a in enumerate(starts)]


def fades(spans: list[Span], scale: int, like: Tensor) -> list[Tensor]:
    """For every span the weights of its pixels, (n,) as `like` in dtype and device. Over all spans they sum to 1.

    They rise and fall linearly where spans overlap.
    """
    weights = [_fade(span, scale, like) for span in spans]
    total = like.new_zeros(spans[-1].end * scale)
    for span, weight in zip(spans, weights, strict=True):
        total[span.of(scale)] += weight
    return [weight / total[span.of(scale)] for span, weight in zip(spans, weights, strict=True)]


def _fade(span: Span, scale: int, like: Tensor) -> Tensor:
    weight = like.new_ones((span.end - span.start) * scale)
    before, after = span.before * scale, span.after * scale
    weight[:before] *= _ramp(before, like)
    weight[len(weight) - after :] *= _ramp(after, like).flip(0)
    return weight


def _ramp(n: int, like: Tensor) -> Tensor:
    return (torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) / max(n, 1)


class _Canvas:
    """The image that tiles are added to.

    A pixel's weight is that of its row times that of its column. Each of these sums to 1 over the tiles, so their
    products do.
    """

    def __init__(self, made: Tensor, rows: list[Span], columns: list[Span]):
        self.spans = list(product(rows, columns))
        self.scale = made.shape[-2] // (rows[0].end - rows[0].start)
        shape = (*made.shape[:-2], rows[-1].end * self.scale, columns[-1].end * self.scale)
        self.image = made.new_zeros(shape, dtype=at_least_fp32(made.dtype))
        self.weights = list(product(*(fades(side, self.scale, self.image) for side in (rows, columns))))

    def add(self, made: Tensor, i: int) -> None:
        (row, column), (of_rows, of_columns) = self.spans[i], self.weights[i]
        place = self.image[..., row.of(self.scale), column.of(self.scale)]
        place += made.to(place.dtype) * (of_rows[:, None] * of_columns)

    def part(self, made: Tensor, i: int) -> Part:
        """The tile before it is blended."""
        row, column = (span.start * self.scale for span in self.spans[i])
        of_all = flatten_frames(self.image).shape
        return Part(flatten_frames(made), 0, row, column, tuple(of_all))  # type: ignore[arg-type]


def _report_plan(on_plan: Callable[[Any], None], tiles: Tiles, count: int, each: Plan) -> None:
    on_plan(TilePlan(tiles, count, each))


def _report_progress(progress: Progress, i: int, count: int, done: int, total: int) -> None:
    progress(i * total + done, count * total)
