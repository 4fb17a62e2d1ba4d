"""An image of the errors of an examination: a panel for each trial, below the chart and the verdict.

Each part of a panel is the error there as a fraction of what rounding allows there: shades of blue up to all of it,
beyond it red, yellow, and white for a thousand times as much. So a device that is right is blue all over, whatever the
dtype.
"""

import math
import textwrap

import torch
from torch import Tensor
from torch.nn import functional as F

from ..devices.numerics import pin_numerics
from ..images import draw_letters, letters_width
from .examination import Examination
from .report import format_share, format_size, list_facts
from .trials import GRID, Trial

PANEL = (8 * GRID[0], 8 * GRID[1])  # pixels: height, width
ABREAST = 4  # panels in a row
GAP, LINE, SCALE = 16, 22, 2  # between panels; from line to line of text; pixels of a letter's pixel
TITLE = 2 * LINE  # above a panel
TEXT = PANEL[1] * ABREAST + GAP * (ABREAST - 1)  # pixels that a line of text may be wide
HOTTEST = 1000.0  # times what is allowed
LEGEND = (0.0, 0.5, 1.0, 3.0, 30.0, HOTTEST)

Colour = tuple[float, float, float]
INK, FAINT, ALARM = (0.1, 0.1, 0.1), (0.45, 0.45, 0.45), (0.8, 0.0, 0.0)
NOTHING = (0.6, 0.1, 0.55)  # a panel without a result


class Canvas:
    """A white image, (3, height, width) in [0, 1]."""

    def __init__(self, height: int, width: int):
        self.pixels = torch.ones(3, height, width, dtype=torch.float32)

    def paste(self, image: Tensor, top: int, left: int) -> None:
        """image: (3, h, w), which must fit."""
        self.pixels[:, top : top + image.shape[1], left : left + image.shape[2]] = image

    def write(self, text: str, top: int, left: int, colour: Colour = INK) -> None:
        """One line; what does not fit is cut off."""
        ink = draw_letters(text, SCALE)
        place = self.pixels[:, top : top + ink.shape[0], left : left + ink.shape[1]]
        ink = ink[: place.shape[1], : place.shape[2]]
        place.copy_(torch.where(ink > 0, torch.tensor(colour, dtype=torch.float32)[:, None, None], place))


@pin_numerics()
def draw_errors(found: Examination) -> Tensor:
    """(1, 3, H, W) in [0, 1], float32."""
    head = _draw_head(found)
    rows = math.ceil(len(found.trials) / ABREAST)
    canvas = Canvas(head.shape[1] + rows * (TITLE + PANEL[0] + GAP) + GAP, TEXT + 2 * GAP)
    canvas.paste(head, 0, 0)
    for i, trial in enumerate(found.trials):
        row, column = divmod(i, ABREAST)
        top = head.shape[1] + row * (TITLE + PANEL[0] + GAP)
        _draw_trial(canvas, trial, top, GAP + column * (PANEL[1] + GAP))
    return canvas.pixels[None]


def _draw_head(found: Examination) -> Tensor:
    """The chart, with what was examined beside it; below them the verdict and what the colours mean."""
    verdict = _wrap(found.verdict.sentence, TEXT)
    chart = F.interpolate(found.chart, PANEL, mode="bilinear", antialias=True)[0]
    beside = TEXT - PANEL[1] - GAP
    facts = [line for name, text in list_facts(found).items() if text for line in _wrap(f"{name}: {text}", beside)]
    tall = max(PANEL[0], LINE * len(facts))
    canvas = Canvas(tall + LINE * (len(verdict) + 2) + 3 * GAP, TEXT + 2 * GAP)
    canvas.paste(chart, GAP, GAP)
    for i, line in enumerate(facts):
        canvas.write(line, GAP + i * LINE, 2 * GAP + PANEL[1], FAINT)
    top = tall + 2 * GAP
    for i, line in enumerate(verdict):
        canvas.write(line, top + i * LINE, GAP, ALARM if found.verdict.faults else INK)
    _draw_legend(canvas, top + LINE * len(verdict) + GAP // 2)
    return canvas.pixels


def _draw_legend(canvas: Canvas, top: int) -> None:
    text = "error by what rounding allows:"
    canvas.write(text, top, GAP, FAINT)
    left = GAP + letters_width(text, SCALE) + GAP
    for share in LEGEND:
        label = f"{share:g}"
        canvas.paste(torch.full((3, LINE - 6, LINE + 2), FAINT[0], dtype=torch.float32), top - 1, left - 1)  # a frame
        canvas.paste(colour(torch.full((LINE - 8, LINE), share, dtype=torch.float32)), top, left)
        canvas.write(label, top, left + LINE + 6, FAINT)
        left += LINE + 6 + letters_width(label, SCALE) + GAP


def _draw_trial(canvas: Canvas, trial: Trial, top: int, left: int) -> None:
    way = "bands" if trial.rows else "whole"
    canvas.write(f"{trial.dtype} {trial.half.verb} {way}", top, left)
    canvas.write(f"{format_size(trial)} {_describe(trial)}", top + LINE, left, FAINT if trial.right else ALARM)
    canvas.paste(_draw_panel(trial), top + TITLE, left)


def _describe(trial: Trial) -> str:
    if trial.right is None:
        return "no memory"
    if trial.broken:
        return "not finite"
    return f"{'right' if trial.right else 'wrong'} {format_share(trial)}" if trial.shares is not None else "failed"


def _draw_panel(trial: Trial) -> Tensor:
    """(3, *PANEL) in [0, 1]"""
    if trial.shares is None:
        return torch.tensor(NOTHING, dtype=torch.float32)[:, None, None].expand(3, *PANEL)
    return colour(F.interpolate(trial.shares[None, None], PANEL)[0, 0])


def colour(shares: Tensor) -> Tensor:
    """Fractions of what is allowed, (H, W), 0 and more -> their colours, (3, H, W) in [0, 1]."""
    cool = shares.clamp(0, 1)
    blue = torch.stack([0.05 + 0.3 * cool, 0.1 + 0.5 * cool, 0.3 + 0.6 * cool])
    heat = shares.clamp(1, HOTTEST).log() / math.log(HOTTEST)
    red = torch.stack([0.7 + heat, 2 * heat - 0.3, 3 * heat - 2]).clamp(0, 1)
    return torch.where(shares > 1, red, blue)


def _wrap(text: str, pixels: int) -> list[str]:
    return textwrap.wrap(text, pixels // letters_width(" ", SCALE))
