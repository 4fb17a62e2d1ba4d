"""The figures of docs/what_is_a_vae.md come out as they were kept, and its tables say what was computed.

`python docs/figures --side 48 --png --out tests/figures` keeps them anew.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
FIGURES, KEPT = ROOT / "docs" / "figures", ROOT / "tests" / "figures"
PAGE = (ROOT / "docs" / "what_is_a_vae.md").read_text()
NAMES = sorted(path.stem for path in KEPT.glob("*.png"))
ODD = 0.01  # share of pixels that another processor's rounding may change by more than a level


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, str]:
    """(folder of the figures, small; the tables)"""
    out = tmp_path_factory.mktemp("figures")
    command = [sys.executable, str(FIGURES), "--side", "48", "--png", "--out", str(out)]
    return out, subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_comes_out_as_it_was_kept(name, made):
    now, then = (
        np.asarray(Image.open(folder / f"{name}.png").convert("RGB")).astype(int) for folder in (made[0], KEPT)
    )
    assert now.shape == then.shape
    assert (abs(now - then).max(-1) > 1).mean() <= ODD


def test_every_figure_is_kept_and_on_the_page(made):
    shown = {Path(name).stem for name in re.findall(r"\]\(figures/([\w.]+)\)", PAGE)}
    assert set(NAMES) == {path.stem for path in made[0].iterdir()} == shown


def test_figures_are_small():
    files = [FIGURES / name for name in re.findall(r"\]\(figures/([\w.]+)\)", PAGE)]
    sizes = [path.stat().st_size for path in files]
    assert max(sizes) < 150_000 and sum(sizes) < 1_500_000


def test_the_tables_say_what_was_computed(made):
    """Names and rows are the same, numbers to a hundredth and the last digit."""
    rows = [row for row in made[1].splitlines() if row.startswith("|")]
    assert len(rows) > 25
    on_page = [row for row in PAGE.splitlines() if row.startswith("|")]
    for row in rows:
        same = [other for other in on_page if words(other) == words(row)]
        assert any(np.allclose(numbers(other), numbers(row), rtol=0.01, atol=0.11) for other in same), row


def words(row: str) -> str:
    return re.sub(r"[\d.]+", "#", row)


def numbers(row: str) -> list[float]:
    return [float(n) for n in re.findall(r"\d+(?:\.\d+)?", row)]
