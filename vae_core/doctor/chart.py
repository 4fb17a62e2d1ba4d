"""The chart that the Doctor sends through a VAE: twelve cells, each hard for another reason. The same on every machine.

ramps       levels     colours     primaries
edges       checkers   star        text
noise       clouds     lines       shadows
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..images import draw_letters

CELLS = (
    ("ramps", "levels", "colours", "primaries"),
    ("edges", "checkers", "star", "text"),
    ("noise", "clouds", "lines", "shadows"),
)
# Pixels. At the larger width a network has 2^16 pixels inside even at half the size, from which on PyTorch 2.13 pads
# wrongly on MPS (https://github.com/pytorch/pytorch/issues/194922).
WIDTHS = (128, 608)
NARROWEST = 64
ROWS, COLUMNS = len(CELLS), len(CELLS[0])
TEXT = ("EXACT VAE", "THE QUICK BROWN FOX", "0123456789", "JUMPS OVER", "THE LAZY DOG", "+-=/%()<>:.")
SHIFT = 1 / 32  # of its width, by which the chart moves from one frame of a clip to the next


class Grid(NamedTuple):
    """Where the pixels of a cell are: x and y from 0 to 1, (h, w) each."""

    x: Tensor
    y: Tensor


def draw_chart(width: int) -> Tensor:
    """The chart, (1, 3, 3/4 width, width) in [0, 1], float32. width: a multiple of 16 is divided evenly."""
    height = width * ROWS // COLUMNS
    tops, lefts = (_cut(height, ROWS), _cut(width, COLUMNS))
    chart = torch.empty(1, 3, height, width, dtype=torch.float32)
    for names, top, bottom in zip(CELLS, tops, tops[1:], strict=False):
        for name, left, right in zip(names, lefts, lefts[1:], strict=False):
            y, x = ((torch.arange(n, dtype=torch.float32) + 0.5) / n for n in (bottom - top, right - left))
            grid = Grid(*torch.meshgrid(x, y, indexing="xy"))
            chart[0, :, top:bottom, left:right] = DRAWERS[name](grid)
    return chart.clamp(0, 1)


def draw_clip(width: int, frames: int) -> Tensor:
    """The chart moving to the right, (1, 3, frames, 3/4 width, width) in [0, 1], float32."""
    chart, step = draw_chart(width), max(1, round(width * SHIFT))
    return torch.stack([chart.roll(i * step, -1) for i in range(frames)], 2)


def _cut(length: int, parts: int) -> list[int]:
    return [length * i // parts for i in range(parts + 1)]


def _ramps(at: Grid) -> Tensor:
    """Grey from left to right, below it from right to left, and red to cyan."""
    bands = torch.where(at.y < 0.34, at.x, 1 - at.x)
    return torch.stack([bands, *[torch.where(at.y > 0.67, 1 - bands, bands)] * 2])


def _levels(at: Grid) -> Tensor:
    """Sixteen flat greys, which show banding."""
    return ((at.x * 4).floor() + 4 * (at.y * 4).floor()).expand(3, -1, -1) / 15


def _colours(at: Grid) -> Tensor:
    """Every hue, fully saturated, from black through the colour to white."""
    pure = torch.stack([((at.x * 6 - shift) % 6 - 3).abs() - 1 for shift in (0, 2, 4)]).clamp(0, 1)
    return torch.where(at.y < 0.5, pure * at.y * 2, pure + (1 - pure) * (at.y * 2 - 1))


def _primaries(at: Grid) -> Tensor:
    """Eight patches: the corners of the cube of colours."""
    number = ((at.x * 2).floor() + 2 * (at.y * 4).floor()).int()
    return torch.stack([(number >> bit & 1).float() for bit in (0, 1, 2)])


def _edges(at: Grid) -> Tensor:
    """A black square on white, turned by a few degrees: edges at all positions between pixels."""
    x, y = at.x - 0.5, at.y - 0.5
    turn = math.radians(7)
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    inside = (torch.maximum(u.abs(), v.abs()) < 0.32).float()
    return (1 - inside).expand(3, -1, -1)


def _checkers(at: Grid) -> Tensor:
    """Checkerboards of 1, 2, 4 and 8 pixels, a quarter of the cell each."""
    h, w = at.x.shape
    rows, columns = torch.arange(h)[:, None], torch.arange(w)
    size = 2 ** ((at.x >= 0.5).int() + 2 * (at.y >= 0.5).int())
    return ((rows // size + columns // size) % 2).float().expand(3, -1, -1)


def _star(at: Grid) -> Tensor:
    """Siemens' star: the same contrast at ever smaller distances."""
    spokes = torch.cos(12 * torch.atan2(at.y - 0.5, at.x - 0.5))
    return (0.5 + 0.5 * spokes).expand(3, -1, -1)


def _text(at: Grid) -> Tensor:
    """Black letters on white, below white on blue; large, then small."""
    h, w = at.x.shape
    ink = torch.zeros(h, w, dtype=torch.float32)
    top = 1
    for i in range(h):
        scale = max(1, w // 60) if i % 2 == 0 else max(1, w // 110)
        line = draw_letters(TEXT[i % len(TEXT)], scale)
        if top < h / 2 < top + len(line) + scale:
            top = h // 2 + 1
        if top + len(line) > h:
            break
        line = line[:, : w - 1]
        ink[top : top + len(line), 1 : 1 + line.shape[1]] = line
        top += len(line) + 2 * scale
    lower = (at.y > 0.5).float()
    paper = torch.stack([1 - lower, 1 - 0.9 * lower, 1 - 0.4 * lower])
    return paper * (1 - ink) + lower * ink


def _noise(at: Grid) -> Tensor:
    """Every pixel and channel on its own."""
    return _draw_uniform(3, *at.x.shape)


def _clouds(at: Grid) -> Tensor:
    """Soft colours."""
    h, w = at.x.shape
    return F.interpolate(_draw_uniform(3, 5, 5)[None], (h, w), mode="bicubic", align_corners=False)[0]


def _lines(at: Grid) -> Tensor:
    """Lines of one pixel: upright, level, sloping; and a frame of two colours."""
    h, w = at.x.shape
    rows, columns = torch.arange(h)[:, None].expand(h, w), torch.arange(w).expand(h, w)
    upper, left = at.y < 0.5, at.x < 0.5
    which = torch.where(upper, torch.where(left, columns, rows), torch.where(left, rows + columns, columns + 2 * rows))
    line = (which % 4 == 0).float()
    return torch.stack([line, torch.where(upper, line, 1 - line), torch.where(left, line, 1 - line)])


def _shadows(at: Grid) -> Tensor:
    """Nearly black and nearly white, with a trace of noise."""
    faint = 0.02 * _draw_uniform(3, *at.x.shape)
    return torch.where(at.y < 0.5, 0.06 * at.x + faint, 1 - 0.06 * at.x - faint)


def _draw_uniform(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)


DRAWERS: dict[str, Callable[[Grid], Tensor]] = {
    "ramps": _ramps,
    "levels": _levels,
    "colours": _colours,
    "primaries": _primaries,
    "edges": _edges,
    "checkers": _checkers,
    "star": _star,
    "text": _text,
    "noise": _noise,
    "clouds": _clouds,
    "lines": _lines,
    "shadows": _shadows,
}
