"""An examination in words and figures: a table, lines for a node, JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..execution.plans.budget import format_bytes
from ..reports import format_markdown, format_rows
from .diagnosis import format_times
from .examination import Examination
from .trials import Trial

HEADER = ("dtype", "half", "chart", "how", "PSNR", "largest", "of allowed", "NaN", "seconds", "peak", "planned", "")
WORDS = 4  # columns of them


def format_report(found: Examination) -> str:
    """All of it, in Markdown that is aligned as plain text too: the verdict, what was examined on what, the table."""
    faults = [f"{_name(one)}: {one.fault}" for one in found.trials if one.fault]
    parts = [found.verdict.sentence, format_facts(found), format_table(found.trials), *faults]
    return "\n\n".join(parts)


def format_facts(found: Examination) -> str:
    """Lines 'name: text' about the VAE and the machine."""
    return format_rows({name: f"{text}  " for name, text in list_facts(found).items() if text})


def list_facts(found: Examination) -> dict[str, str]:
    """What was examined, and on what."""
    machine = found.verdict.machine
    return {
        "VAE": f"{found.verdict.name}, {found.title}",
        "weights": found.verdict.vae,
        "device": machine.device,
        "driver": machine.driver,
        "torch": machine.torch,
        "exact-vae": machine.pack,
        "left out": ", ".join(found.left_out),
    }


def format_table(trials: Sequence[Trial]) -> str:
    """A row for each trial, in Markdown."""
    return format_markdown([HEADER, *map(_format_cells, trials)], left=WORDS)


def format_lines(found: Examination) -> str:
    """The verdict, and a line for each half in each dtype: for places that keep no columns."""
    lines = [found.verdict.sentence, ""]
    for dtype, halves in found.verdict.findings.items():
        for half, one in halves.items():
            worst = max((t.share for t in found.trials if (t.dtype, t.half.verb) == (dtype, half)), default=math.inf)
            took = "" if one.seconds is None else f", {one.seconds:.2f} s"
            told = {True: f"right ({worst:.0%} of what rounding allows)", False: f"WRONG: {one.why}"}
            lines.append(f"{dtype} {half}: {told.get(bool(one.right)) if one.right is not None else 'no memory'}{took}")
    return "\n".join(lines)


def to_json(found: Examination) -> dict[str, Any]:
    """Everything but the images, for `json`. What is not a number, or infinite, is None."""
    return {
        **found.verdict.to_json(),
        "title": found.title,
        "left_out": list(found.left_out),
        "trials": [_trial_to_json(one) for one in found.trials],
    }


def _trial_to_json(trial: Trial) -> Mapping[str, Any]:
    return {
        "dtype": trial.dtype,
        "half": trial.half.verb,
        "width": trial.size[1],
        "height": trial.size[0],
        "frames": trial.frames,
        "rows": trial.rows,
        "right": trial.right,
        "psnr": _finite(trial.psnr),
        "largest": _finite(trial.largest),
        "share": _finite(trial.share),
        "worst": trial.worst,
        "broken": trial.broken,
        "seconds": trial.seconds,
        "peak": trial.peak,
        "planned": trial.planned,
        "fault": trial.fault,
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _name(trial: Trial) -> str:
    return f"{trial.dtype} {trial.half.verb} {format_size(trial)} {format_way(trial)}"


def format_size(trial: Trial) -> str:
    """'128x96', of a clip '128x96x5'"""
    return f"{trial.size[1]}x{trial.size[0]}" + (f"x{trial.frames}" if trial.frames > 1 else "")


def format_way(trial: Trial) -> str:
    return f"bands of {trial.rows}" if trial.rows else "whole"


def format_share(trial: Trial) -> str:
    """'48 %' of what rounding allows, '480 times' it; 'equal' if there is no error at all."""
    if not math.isfinite(trial.share):
        return "-"
    if not trial.share:
        return "equal"
    return f"{trial.share:.0%}" if trial.share <= 1 else format_times(trial.share)


def _format_cells(trial: Trial) -> list[str]:
    came = math.isfinite(trial.share)
    return [
        trial.dtype,
        trial.half.verb,
        format_size(trial),
        format_way(trial),
        ("equal" if math.isinf(trial.psnr) else f"{trial.psnr:.1f} dB") if came else "-",
        f"{trial.largest:.1e}" if came and trial.largest else "0" if came else "-",
        format_share(trial),
        str(trial.broken),
        "-" if trial.seconds is None else f"{trial.seconds:.3f}",
        "-" if trial.peak is None else format_bytes(trial.peak),
        "-" if trial.planned is None else format_bytes(trial.planned),
        {True: "right", False: "WRONG"}.get(bool(trial.right), "") if trial.right is not None else "no memory",
    ]
