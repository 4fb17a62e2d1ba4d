"""The examination of a VAE on a device."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from ..devices.dtypes import choose_dtype, name_dtype
from ..devices.numerics import pin_numerics
from ..errors import BadRequest
from ..execution.progress import Progress
from ..vae import VAE
from ..verdicts import CPU, Verdict, Way, copy_to
from .cases import HALVES, SINGLE, count_steps, make_cases
from .chart import NARROWEST, WIDTHS, draw_chart
from .diagnosis import judge
from .trials import Trial, run_trials

EXAMINED = (SINGLE, *HALVES)


@dataclass(frozen=True)
class Examination:
    """What was found.

    title    which VAE it is
    trials   by dtype, size and half, whole before bands
    left_out dtypes that were not examined
    chart    that it was shown, the largest one: (1, 3, H, W) in [0, 1]
    """

    title: str
    verdict: Verdict
    trials: tuple[Trial, ...]
    left_out: tuple[str, ...]
    chart: Tensor


@pin_numerics()
def examine(
    vae: VAE,
    device: torch.device | None = None,
    *,
    widths: Sequence[int] = WIDTHS,
    dtypes: Sequence[torch.dtype] | None = None,
    budget: int | None = None,
    progress: Progress | None = None,
) -> Examination:
    """Encode and decode the chart in every dtype, whole and in bands, and compare with what a CPU computes in fp64.

    vae       with any weights; it is left as it is. Copies of it are made, one at a time on the device
    device    to examine; None: the one that the VAE is on
    widths    of the chart, in pixels; a VAE that knows one size is shown it at that size, once
    dtypes    of fp32, bf16 and fp16; None: all of them, on a CPU those that it computes well
    budget    bytes that a run may use on the device; None: what is free
    progress  called with (done, total) before every run; it may raise to stop

    Whatever verdict there is on this VAE is not heeded. Raises BadRequest for a chart that is too small and for other
    dtypes, DoesNotFit if the CPU has no memory for the exact results.
    """
    if not widths or min(widths) < NARROWEST:
        raise BadRequest(f"the chart cannot be {min(widths, default=0)} pixels wide: choose {NARROWEST} or more.")
    device, widths = device or vae.device, widths[:1] if vae.image_size else widths
    chosen = _choose_dtypes(device) if dtypes is None else tuple(dtypes)
    if odd := [name_dtype(dtype) for dtype in chosen if dtype not in EXAMINED]:
        raise BadRequest(f"the Doctor examines {', '.join(map(name_dtype, EXAMINED))}, not {', '.join(odd)}.")
    ticks = count()
    total = count_steps(vae, len(widths)) + 2 * len(widths) * len(vae.parts) * len(chosen)

    def step() -> None:
        if progress:
            progress(next(ticks), total)

    cases = make_cases(copy_to(vae, CPU, torch.float64), sorted(widths), step)
    trials = tuple(trial for dtype in chosen for trial in run_trials(vae, Way(device, dtype), cases, budget, step))
    if progress:
        progress(total, total)
    left_out = tuple(name_dtype(dtype) for dtype in EXAMINED if dtype not in chosen)
    return Examination(vae.title, judge(trials, vae, device), trials, left_out, draw_chart(max(widths)))


def _choose_dtypes(device: torch.device) -> tuple[torch.dtype, ...]:
    """On a CPU those that a file's own dtype may be without being cast; elsewhere all."""
    return tuple(dtype for dtype in EXAMINED if device.type != "cpu" or choose_dtype(device, dtype) is dtype)
