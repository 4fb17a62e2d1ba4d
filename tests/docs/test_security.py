"""SECURITY.md says the bounds that the code has, and all of those that are kept in a package's limits.py."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()
ROWS = re.findall(r"^\| `([\w.]+)\.([A-Z_]+)` \| .+ \| (.+) \|$", TEXT, re.MULTILINE)
UNITS = {"": 1, " KiB": 2**10, " MiB": 2**20, " GiB": 2**30}
KEPT = ("vae_core.files.limits", "headless.limits")  # modules that hold nothing but bounds


def read_figure(said: str) -> int:
    """16 MiB, 20,000 or 2^60"""
    found = re.fullmatch(r"([\d,]+)(?:\^(\d+))?((?: [KMG]iB)?)", said)
    assert found, said
    return int(found[1].replace(",", "")) ** int(found[2] or 1) * UNITS[found[3]]


@pytest.mark.parametrize(("module", "name", "said"), ROWS)
def test_a_bound_is_what_the_code_has(module, name, said):
    assert read_figure(said) == getattr(importlib.import_module(f"exact_vae.{module}"), name)


@pytest.mark.parametrize("module", KEPT)
def test_all_bounds_are_listed(module):
    held = {name for name in vars(importlib.import_module(f"exact_vae.{module}")) if name.isupper()}
    assert held == {name for place, name, _ in ROWS if place == module}


def test_nothing_else_is_in_the_table():
    assert len(ROWS) == TEXT.count("\n| `")


def test_no_module_of_the_library_talks_to_the_network():
    """But for the command and the option that say so."""
    sources = [p for top in ("vae_core", "nodes", "headless", "cli", "training") for p in (ROOT / top).rglob("*.py")]
    network = re.compile(r"^\s*(?:import|from) (?:socket|urllib|http|requests|aiohttp|ftplib)\b", re.MULTILINE)
    assert [p.relative_to(ROOT).as_posix() for p in sources if network.search(p.read_text())] == [
        "headless/fetching.py",
        "training/sources/__init__.py",
    ]
