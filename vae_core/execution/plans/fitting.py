"""Take the plans of a request that fit a budget and the device's limits, the fastest first."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...errors import DoesNotFit
from .budget import format_bytes
from .limits import NO_LIMIT, Limit
from .plan import Plan
from .request import Request


def choose(request: Request, budget: int, elsewhere: Mapping[str, int], *, what: str, **ways: Any) -> Plan:
    """The fastest plan under the budget. Arguments and errors are those of `propose_fitting`."""
    return next(propose_fitting(request, budget, elsewhere, what=what, **ways))


def propose_fitting(
    request: Request,
    budget: int,
    elsewhere: Mapping[str, int],
    *,
    rows: int | None = None,
    keep: str | None = None,
    on_cpu: bool = False,
    limit: Limit = NO_LIMIT,
    what: str,
    advice: str = "a smaller image, or a larger budget",
) -> Iterator[Plan]:
    """The plans under the budget, the fastest first. Raises DoesNotFit if there is none, saying by how much.

    budget      bytes on the device
    elsewhere   bytes there are in 'system memory' and on 'disk', for those that may be used
    rows, keep  if given, only plans in bands of so many rows at most (whole, if that is all of them), and kept there
    on_cpu      whether the device is one: there bands come first
    limit       of a single tensor on the device
    what        is run, for the error: "decoding 4096x4096 with 'ae.safetensors'"
    advice      what to use if nothing fits, for the error
    """
    found, smallest, least = False, None, math.inf
    for plan in request.propose(elsewhere, rows, keep, on_cpu):
        plan = add_scores(plan, limit)
        least = min(least, plan.largest)
        if plan.largest >= limit.numbers:
            continue
        if plan.peak <= budget and plan.held <= elsewhere.get(plan.keep, 0):
            found = True
            yield plan
        smallest = plan if smallest is None or plan.peak < smallest.peak else smallest
    if not found:
        raise DoesNotFit(
            f"{what} {_explain_misfit(smallest, budget, elsewhere)} use {advice}."
            if smallest
            else f"{what} {limit.explain(least)}"
        )


def add_scores(plan: Plan, limit: Limit) -> Plan:
    """The plan with what attention takes for scores on the device, as if they were made when most memory is in use."""
    return replace(plan, peak=plan.peak + limit.score_bytes * plan.scores) if limit.score_bytes else plan


def _explain_misfit(smallest: Plan, budget: int, elsewhere: Mapping[str, int]) -> str:
    """What is missing."""
    if smallest.peak <= budget:
        return (
            f"under {format_bytes(budget)} needs {format_bytes(smallest.held)} of {smallest.keep}, but only "
            f"{format_bytes(elsewhere.get(smallest.keep, 0))} are free there: make room, or"
        )
    return (
        f"needs {format_bytes(smallest.peak)} even at its smallest ({smallest}), but only "
        f"{format_bytes(budget)} may be used:"
    )
