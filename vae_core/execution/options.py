"""How a run is asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TypedDict

from ..errors import BadRequest
from .parts import OnPart, share_on_part
from .plans import budget as memory
from .plans.places import KEEP
from .plans.plan import Plan
from .progress import Progress, share_progress
from .tiles import TilePlan, Tiles

ADVICE = "a smaller image, bf16, or a larger budget"
OnPlan = Callable[[Plan | TilePlan | str], None]  # str: of a VAE that another library runs


@dataclass(frozen=True)
class RunOptions:
    """How a VAE is asked to run. All but `tiles` give the same result, up to rounding.

    budget    bytes it may use on its device beside the weights, also as '2GiB'; None: what is free now
    rows      of the image in a band at most, fewer if it would not fit; None: the plan's choice, whole images included
    keep      where bands are held: 'device', 'system memory' (of a CPU, the same), 'disk'; None: the plan's choice
    tiles     run in tiles that are blended: approximate. The budget is then that of one tile
    on_plan   called with the plan just before the run; `str(plan)` is for people
    progress  called with (work done, work in total) during the run; it may raise to stop the run
    on_part   called with each part of the result as soon as it is finished, see Part; it may raise to stop the run.
              A run that starts again in less memory tells them again; one with gradients tells none
    grad      record gradients, for the input and for weights that require them: the run is whole, whatever it takes
    advice    what to use if a run does not fit, in the words of whoever asks: it ends the sentence
    Raises BadRequest for rows, a place, a budget or tiles that cannot be.
    """

    budget: int | str | None = None
    rows: int | None = None
    keep: str | None = None
    tiles: Tiles | None = None
    on_plan: OnPlan | None = None
    progress: Progress | None = None
    on_part: OnPart | None = None
    grad: bool = False
    advice: str = ADVICE

    def __post_init__(self) -> None:
        if self.keep is not None and self.keep not in KEEP:
            raise BadRequest(f"bands cannot be kept in '{str(self.keep)[:60]}': choose {', '.join(KEEP)}.")
        if self.rows is not None and not isinstance(self.rows, Integral):
            raise BadRequest(f"a band cannot have {str(self.rows)[:60]!r} rows: give a whole number.")
        if self.tiles is not None and not isinstance(self.tiles, Tiles):
            raise BadRequest(f"there are no tiles of {str(self.tiles)[:60]!r}: give Tiles(size, overlap).")
        if self.rows is not None and self.rows < 1:
            raise BadRequest(f"a band cannot have {self.rows} rows: choose 1 or more.")
        if self.budget is not None:
            memory.parse(self.budget)


class RunKeywords(TypedDict, total=False):
    """The fields of RunOptions, for methods that take them as keywords."""

    budget: int | str | None
    rows: int | None
    keep: str | None
    tiles: Tiles | None
    on_plan: OnPlan | None
    progress: Progress | None
    on_part: OnPart | None
    grad: bool
    advice: str


DEFAULTS = RunOptions()


def share_options(options: RunOptions, runs: int) -> Iterator[RunOptions]:
    """The options for each of so many runs that are one to the caller: one plan is told, one progress, one result."""
    for i, progress in enumerate(share_progress(options.progress, runs)):
        on_part = share_on_part(options.on_part, i, runs)
        yield replace(options, on_plan=None if i else options.on_plan, progress=progress, on_part=on_part)
