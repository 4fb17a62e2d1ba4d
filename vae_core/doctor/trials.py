"""Trials: a half of a VAE in one dtype, whole or in bands, run on a device, measured and judged."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..devices.dtypes import name_dtype
from ..errors import DoesNotFit, NumericalOverflow, VAEError, is_out_of_memory
from ..execution.options import RunOptions
from ..families import Half
from ..vae import VAE
from ..verdicts import Way, copy_to
from .cases import WHOLE, Case, Step
from .chart import CELLS, COLUMNS, ROWS
from .watching import measure_seconds, watch_memory

BANDS = 4  # so many, when an image is run in bands
GRID = (27, 36)  # parts of an image of errors at most
RUNS, LONG = 3, 5.0  # timed runs of a trial at most, and the seconds after which there is no other


@dataclass(frozen=True)
class Trial:
    """What came of it.

    size      (H, W) of the chart
    frames    of a clip of it; 1: an image
    rows      in a band; 0: whole
    psnr      decibels, to the exact result; its peak is 2 of pixels, and of a latent the range of its numbers
    largest   error of any number, by the same peak
    share     the errors, as a fraction of what rounding allows; inf if the result is not finite or did not come
    worst     the chart's cell that is nearest to what it is allowed, or furthest beyond
    like_tf32 is it wrong for fp32, but right for TF32?
    broken    numbers that are NaN or infinite
    seconds   median of the timed runs
    peak      bytes it added at most, measured; planned: what its plan said
    fault     why there is no result, '' if there is one
    shares    of parts of the image, (rows, columns); None if there is no result
    no_memory there was too little for it, which says nothing of its numbers
    """

    half: Half
    dtype: str
    size: tuple[int, int]
    frames: int
    rows: int
    psnr: float = math.nan
    largest: float = math.nan
    share: float = math.inf
    worst: str = ""
    like_tf32: bool = False
    broken: int = 0
    seconds: float | None = None
    peak: int | None = None
    planned: int | None = None
    fault: str = ""
    shares: Tensor | None = None
    no_memory: bool = False

    @property
    def right(self) -> bool | None:
        """None if there was no memory to tell."""
        return None if self.no_memory else self.share <= 1


def run_trials(vae: VAE, way: Way, cases: Sequence[Case], budget: int | None, step: Step) -> Iterator[Trial]:
    """Every case, whole and in bands, of a copy of the VAE on the device and in the dtype that are examined.

    budget: bytes it may use there; None: what is free. Raises what `step` raises.
    """
    twin = _copy(vae, way)
    for case in cases:
        for rows in (0, max(1, case.size[0] // BANDS)):
            step()
            trial = Trial(case.half, name_dtype(way.dtype), case.size, case.frames, rows)
            yield _try(trial, twin, case, budget) if isinstance(twin, VAE) else _fail(trial, twin)


def _copy(vae: VAE, way: Way) -> VAE | Exception:
    """The copy; the error if there is no room for it, or the device has no such dtype."""
    try:
        return copy_to(vae, *way)
    except (RuntimeError, TypeError, MemoryError) as e:
        return e


def _try(trial: Trial, vae: VAE, case: Case, budget: int | None) -> Trial:
    try:
        trial, results = _run(trial, vae, case, budget)
    except (VAEError, RuntimeError, NotImplementedError) as e:  # the device cannot run an op, or nothing any more
        return _fail(trial, e)
    judged = [_judge(trial, case, result, vae.dtype) for result in results]
    return max(judged, key=_share)


def _fail(trial: Trial, error: Exception) -> Trial:
    """The trial without a result."""
    if isinstance(error, NumericalOverflow):
        return replace(trial, fault=str(error), broken=error.count)
    if isinstance(error, DoesNotFit) or is_out_of_memory(error):
        return replace(trial, fault=str(error), no_memory=True)
    return replace(trial, fault=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def _run(trial: Trial, vae: VAE, case: Case, budget: int | None) -> tuple[Trial, list[Tensor]]:
    """The trial with what it took, and its results, on the CPU. The first run, which makes ready, is not timed."""
    plans: list[Any] = []
    options = RunOptions(rows=trial.rows or WHOLE.rows, budget=budget, on_plan=plans.append)
    results: list[Tensor] = []

    def work() -> None:
        results.append(case.run(vae, options).cpu())

    with watch_memory(vae.device) as most:
        work()
    seconds: list[float] = []
    while len(seconds) < RUNS and sum(seconds) < LONG:
        seconds.append(measure_seconds(work))
    return replace(trial, peak=most(), planned=plans[0].peak, seconds=statistics.median(seconds)), results


def _share(trial: Trial) -> float:
    return trial.share


def _judge(trial: Trial, case: Case, result: Tensor, dtype: torch.dtype) -> Trial:
    """The trial with its errors, by this result."""
    if result.shape != case.exact.shape:
        return replace(trial, fault=f"its shape is {tuple(result.shape)} instead of {tuple(case.exact.shape)}")
    found, allowed = case.measure(result), case.allowed(dtype)
    share, unit = allowed.largest_share(found), _measure_spread(case)
    cells = allowed.share(found)
    row, column = divmod(int(cells.argmax()), cells.shape[1])
    is_tf32 = dtype is torch.float32 and share > 1 and case.allowed(torch.float16).largest_share(found) <= 1
    return replace(
        trial,
        psnr=-20 * math.log10(found.rms * unit) if found.rms * unit else math.inf,
        largest=found.largest * unit,
        share=share,
        worst=CELLS[row][column],
        like_tf32=is_tf32,
        shares=allowed.share(found, _choose_parts(result)).float(),
    )


def _choose_parts(result: Tensor) -> tuple[int, int]:
    """Rows and columns of an image of errors. A part holds several numbers: single ones say little."""
    rows, columns = (
        max(least, min(most, n // 2)) for least, most, n in zip((ROWS, COLUMNS), GRID, result.shape[-2:], strict=True)
    )
    return rows, columns


def _measure_spread(case: Case) -> float:
    """The standard deviation of the exact result, by its peak."""
    exact = case.exact.double()
    peak = 2.0 if case.half is Half.DECODER else (exact.amax() - exact.amin()).item()
    return exact.std().item() / peak if peak else 0.0
