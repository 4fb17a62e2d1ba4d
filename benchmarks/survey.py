"""How long a survey of a folder of checkpoints takes: `exact-vae inspect FOLDER`, and what of it is the survey itself.

    python benchmarks/survey.py [--files 100] [--gigabytes 7] [--runs 5] [--write] [--profile]

--profile  instead of a table: where the time of one survey goes

The files are sparse: a header as a published file has it, and behind it holes of the right length. `SDXL` are full
checkpoints of the same names, some 2500 tensors each; `every kind` has the headers of tests/headers in turn, each with
as many tensors of a diffusion model beside it. Seconds are the processor's own, of all threads, and the clock's: the
least of the runs, each of which is a process of its own.
"""

import argparse
import cProfile
import json
import math
import os
import platform
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "survey.md"
HEADERS = ROOT / "tests" / "headers"
OTHERS = 2300  # tensors of SDXL's U-Net and text encoders
GOAL = 2.0  # seconds of the clock, for 100 files on two cores
SURVEY = """
import sys
from exact_vae.vae_core.reports import survey_files
import torch, time, json
start, cpu = time.perf_counter(), time.process_time()
rows = survey_files(sys.argv[1:])
print(json.dumps([time.perf_counter() - start, time.process_time() - cpu, sum(not row.problem for row in rows)]))
"""


def read_shapes(name: str) -> dict[str, list[int]]:
    return json.loads((HEADERS / f"{name}.json").read_text())["shapes"]


def write_sparse(path: Path, shapes: dict[str, list[int]], size: int, title: str) -> None:
    """A safetensors file of these tensors in fp16, and of others of a diffusion model so that it is `size` bytes."""
    own = 2 * sum(map(math.prod, shapes.values()))
    each = max(2, (size - own) // (2 * OTHERS))
    more = {f"model.diffusion_model.middle_block.{i}.weight": [each] for i in range(OTHERS)}
    header, end = {"__metadata__": {"modelspec.title": title}}, 0
    for name, shape in {**shapes, **more}.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + end)


def make_folders(folder: Path, files: int, size: int) -> Iterator[tuple[str, Path]]:
    every = sorted(path.stem for path in HEADERS.glob("*.json"))
    for title, names in (("SDXL", ["sdxl.checkpoint-prefixed"]), ("every kind", every)):
        inside = folder / title.replace(" ", "-")
        inside.mkdir()
        for i in range(files):
            write_sparse(inside / f"{i:03}.safetensors", read_shapes(names[i % len(names)]), size, f"model {i}")
        yield title, inside


def run_survey(folder: Path) -> tuple[float, float, int]:
    made = subprocess.run([sys.executable, "-c", SURVEY, str(folder)], check=True, capture_output=True, text=True)
    clock, cpu, fine = json.loads(made.stdout)
    return clock, cpu, fine


def run_command(folder: Path) -> tuple[float, float]:
    start, before = time.perf_counter(), _children()
    subprocess.run([sys.executable, "-m", "exact_vae.cli", "inspect", str(folder)], capture_output=True, check=False)
    return time.perf_counter() - start, _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def profile_survey(folder: Path) -> None:
    from exact_vae.vae_core.reports import survey_files

    with cProfile.Profile() as profile:
        survey_files([folder])
    profile.print_stats("tottime")


def format_table(folders: list[tuple[str, Path]], runs: int) -> str:
    lines = ["| folder | would load | survey: clock | processor | whole command: clock | processor |",
             "|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for title, folder in folders:
        surveys, commands = zip(*((run_survey(folder), run_command(folder)) for _ in range(runs)), strict=True)
        clock, cpu = min(s[0] for s in surveys), min(s[1] for s in surveys)
        whole, whole_cpu = min(c[0] for c in commands), min(c[1] for c in commands)
        count = len(list(folder.iterdir()))
        lines.append(f"| {title} | {surveys[0][2]} of {count} | {clock:.2f} s | {cpu:.2f} s | {whole:.2f} s "
                     f"| {whole_cpu:.2f} s |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--gigabytes", type=float, default=7)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folders = list(make_folders(Path(made), args.files, int(args.gigabytes * 1e9)))
        if args.profile:
            profile_survey(folders[-1][1])
            return
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        text = (f"{args.files} sparse files of {args.gigabytes:g} GB in each folder. The goal for a survey is {GOAL:g} "
                f"s. {machine}; least of {args.runs} runs.\n\n{format_table(folders, args.runs)}\n")  # fmt: skip
    print(text)
    if args.write:
        RESULT.write_text(text)


if __name__ == "__main__":
    main()
