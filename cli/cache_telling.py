"""What was found in a cache, for people: problems, samples, a contact sheet."""

from collections.abc import Sequence
from pathlib import Path

from ..batch import Problem, Sample, draw_sheet
from ..headless import image_files
from ..vae_core.reports import format_fixed

MOST_TOLD = 50  # problems; --json has all of them
SHEET = "contact_sheet.png"


def list_told(problems: Sequence[Problem], samples: Sequence[Sample]) -> list[str]:
    """A line for each."""
    lines = [f"{one.where}: {one.what}" for one in problems[:MOST_TOLD]]
    if len(problems) > MOST_TOLD:
        lines.append(f"... and {len(problems) - MOST_TOLD} more; --json lists all")
    for one in samples:
        same = "equal bits" if one.error == 0 else f"off by {one.error:.2g} of its spread"
        lines.append(f"{one.path}: encoded again {same}; decoded {one.psnr:.1f} dB")
    return lines


def write_sheet(folder: Path, samples: Sequence[Sample]) -> None:
    image_files.write(folder / SHEET, draw_sheet(samples).movedim(0, -1)[None])


def describe_numbers(numbers: list[float]) -> str:
    """The least and the greatest."""
    return " to ".join(format_fixed(one, 2) for one in (min(numbers), max(numbers))) if numbers else "of nothing"


def conclude(cache: Path, problems: int) -> str:
    return f"'{cache}' is not right: {problems} problem{'s' if problems != 1 else ''}, listed above."
