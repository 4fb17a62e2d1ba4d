"""The script benchmarks/gpu_facts.py, and a call of some of its sections."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_facts.py"
needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


def read_rows(folder: Path) -> list[dict]:
    path = folder / "rows.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def run_sections(facts: ModuleType, setting, *lists, seconds: float = 600.0, first: float = 1.0) -> list[dict]:
    """first: the share of the first section; that of each other one is 1."""
    shares = (first, *[1.0] * len(lists))
    sections = [
        facts.Section(one.__name__, one.__name__, share, one) for one, share in zip(lists, shares, strict=False)
    ]
    facts.run_sections(sections, setting, seconds)
    return read_rows(setting.out)
