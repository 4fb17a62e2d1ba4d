"""Measures what fine-tuning changed: held-out images through the VAE before and after."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..vae_core import VAE
from ..vae_core.files import make_folder, write_atomically
from .folder import Survey
from .images import open_image
from .results import LONG_SIDE, Measurement, make_cell, measure_image, save_sheet, shrink_to

REPORT, SHEET = "report.md", "report.jpg"


class Comparison(NamedTuple):
    before: Measurement
    after: Measurement


def compare(before: VAE, after: VAE, found: Survey, long_side: int | None = LONG_SIDE) -> Iterator[Comparison]:
    """Encode and decode (from the mode) each held-out image, shrunk to this long side if it is longer."""
    for name in found.held_out:
        image = shrink_to(open_image(found.folder / name), long_side)
        yield Comparison(measure_image(before, image, name), measure_image(after, image, name))


def format_table(rows: Sequence[Comparison]) -> str:
    """Markdown: a row for each image and one for their mean, every measure before and after."""
    lines = [
        "| held out | size | PSNR, dB: before | after | SSIM: before | after | colour shift, %: before | after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for b, a in rows:
        numbers = _format_numbers(b.psnr, a.psnr, b.ssim, a.ssim, b.colour_shift, a.colour_shift)
        lines.append(f"| {b.name.replace('|', '/')} | {b.original.width}x{b.original.height} | {' | '.join(numbers)} |")
    means = np.mean([(b.psnr, a.psnr, b.ssim, a.ssim, b.colour_shift, a.colour_shift) for b, a in rows], axis=0)
    lines.append(f"| **mean** | | {' | '.join(f'**{number}**' for number in _format_numbers(*means.tolist()))} |")
    return "\n".join(lines)


def _format_numbers(*measures: float) -> list[str]:
    psnr, ssim, shift = measures[:2], measures[2:4], measures[4:]
    return [f"{n:.2f}" for n in psnr] + [f"{n:.4f}" for n in ssim] + [f"{100 * n:.3f}" for n in shift]


def list_skipped(found: Survey, most: int | None = None) -> str:
    """Markdown: the files that could not be used, at most `most` of them, and why; '' if there are none."""
    lines = [f"- {name}: {why}" for name, why in found.skipped.items()]
    shown = lines[:most] + ([f"- and {len(lines) - most} more"] if most and len(lines) > most else [])
    total = len(found.train) + len(found.held_out) + len(lines)
    return "\n".join([f"Skipped, {len(lines)} of {total} files:", "", *shown]) if lines else ""


def write_report(folder: Path, title: str, facts: Mapping[str, str], rows: Sequence[Comparison], found: Survey) -> None:
    """Write a page of Markdown, and a sheet of all held-out images: original, decoded before, decoded after."""
    make_folder(folder)
    said = "\n".join(f"- {name}: {text}" for name, text in facts.items())
    how = "Decoded from the mode, computed in float32. Original, before, after:"
    parts = (f"# {title}", said, format_table(rows), how, f"![original, before, after]({SHEET})", list_skipped(found))
    with write_atomically(folder / REPORT) as part:
        part.write_text("\n\n".join(text for text in parts if text) + "\n", encoding="utf-8")
    cells = [
        make_cell((b.original, b.decoded, a.decoded), f"{b.name}  {b.psnr:.2f} -> {a.psnr:.2f} dB") for b, a in rows
    ]
    save_sheet(cells, folder / SHEET)
