"""How much code a run enters, how long functions and files are, and what the pack costs at start, with their goals.

    python benchmarks/house.py [--before FOLDER] [--runs 7] [--write]

--before  another checkout of the pack, measured beside this one: each run of both in turn, in one session
--write   keep the table in results/house.md
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from structure import measure_structure

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "house.md"
HOST_HAS = "import torch, psutil, safetensors.torch"  # before it loads a pack


class Figure(NamedTuple):
    """One row of the table. goal: the most it may be; '' where there is none."""

    name: str
    unit: str = ""
    goal: str = ""


FIGURES = (
    Figure("files entered: encode, second call", goal="20"),
    Figure("files entered: decode, second call", goal="22"),
    Figure("files entered: encode, first call"),
    Figure("files entered: decode, first call"),
    Figure("networks assembled: load, built-in VAE", goal="1"),
    Figure("networks assembled: load, tiny VAE", goal="1"),
    Figure("networks assembled: encode with a core VAE", goal="1"),
    Figure("networks assembled: decode with a core VAE", goal="1"),
    Figure("lines of a function: median", goal="8"),
    Figure("lines of a function: 90th percentile", goal="25"),
    Figure("lines of a function: most", goal="60"),
    Figure("lines of a file: most", goal="350"),
    Figure("import circles", goal="0"),
    Figure("import of the pack", "ms", "60"),
    Figure("inspect: first file after the import", "ms"),
    Figure("inspect: a file of each known header", "ms", "15"),
    Figure("inspect: the same file again", "ms"),
    Figure("load, built-in VAE", "ms"),
    Figure("decode 512 px, built-in VAE", "ms"),
)


def main() -> None:
    options = parse_arguments()
    folders = {"before": options.before, "now": ROOT} if options.before else {"now": ROOT}
    figures = {name: measure(folder) for name, folder in folders.items()}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in folders}
    for _ in range(options.runs):
        for name, folder in folders.items():
            times[name].append(time_once(folder))
    for name, runs in times.items():
        figures[name] |= {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    text = write_table(figures, folders, options.runs)
    print(text)
    if options.write:
        RESULT.write_text(text + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="another checkout to measure beside this one")
    parser.add_argument("--runs", type=int, default=7, help="of everything that is timed; medians are printed")
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULT.relative_to(ROOT)}")
    return parser.parse_args()


def measure(folder: Path) -> dict[str, float]:
    """The figures that are the same each time."""
    entered = run_probe(folder, "files_entered")
    assembled = run_probe(folder, "networks_assembled")
    return {
        **{f"files entered: {name}": count for name, count in entered.items()},
        **{f"networks assembled: {name}": count for name, count in assembled.items()},
        **measure_structure(folder),
    }


def time_once(folder: Path) -> dict[str, float]:
    """The figures that are times, in milliseconds."""
    inspection, speed = run_probe(folder, "inspection"), run_probe(folder, "speed")
    return {
        "import of the pack": time_import(folder),
        **{f"inspect: {name}": ms for name, ms in inspection.items()},
        "load, built-in VAE": 1000 * speed["load"],
        "decode 512 px, built-in VAE": 1000 * speed["decode 512 px"],
    }


def time_import(folder: Path) -> float:
    """Milliseconds, with cached bytecode and with the host's packages imported already."""
    done = run_python(folder, "-X", "importtime", "-c", f"{HOST_HAS}\nimport exact_vae")
    (line,) = re.findall(r"^import time: +\d+ \| +(\d+) \| exact_vae$", done.stderr, re.MULTILINE)
    return int(line) / 1000


def run_probe(folder: Path, name: str) -> dict[str, Any]:
    """What this measurement of probes.py says of the pack in a folder, in a process of its own."""
    return json.loads(run_python(folder, str(ROOT / "benchmarks" / "probes.py"), name).stdout.splitlines()[-1])


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process in which `exact_vae` is the pack in this folder."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "exact_vae").symlink_to(folder.absolute(), target_is_directory=True)
        environment = {**os.environ, "PYTHONPATH": place, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=place)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed for {folder}:\n{done.stderr[-2000:]}")
    return done


def write_table(figures: dict[str, dict[str, float]], folders: dict[str, Path], runs: int) -> str:
    import torch

    commits = ", ".join(f"{name}: {read_commit(folder)}" for name, folder in folders.items())
    head = ["figure", *figures, "goal"]
    return "\n".join(
        [
            "# The house",
            "",
            f"{commits}. Times are medians of {runs} processes on one thread, in seconds of the processor, but "
            f"for the import, which `-X importtime` measures by the clock. torch {torch.__version__}, "
            f"Python {platform.python_version()}, {platform.machine()}. Made by `python benchmarks/house.py`, which "
            "says what each figure means.",
            "",
            f"| {' | '.join(head)} |",
            f"|{'---|' * len(head)}",
            *write_rows(figures),
        ]
    )


def write_rows(figures: dict[str, dict[str, float]]) -> Iterator[str]:
    for figure in FIGURES:
        name = f"{figure.name}, {figure.unit}" if figure.unit else figure.name
        cells = [f"{found[figure.name]:.4g}" for found in figures.values()]
        yield f"| {name} | {' | '.join(cells)} | {figure.goal and f'at most {figure.goal}'} |"


def read_commit(folder: Path) -> str:
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or str(folder)


if __name__ == "__main__":
    main()
