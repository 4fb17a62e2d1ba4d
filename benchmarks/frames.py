"""Compares the peak memory of decoding Wan 2.1 clips with diffusers: does it grow with the number of frames?

    python benchmarks/frames.py [--frames 1 5 17 33] [--size 128] [--runs 1] [--device cpu] [--dtype fp32]
                                [--threads 1] [--rows N] [--only diffusers] [--write]

Random weights of the published widths, the same for both. As in time_and_memory.py every figure comes from a process of
its own. What is given out grows with the frames whatever runs, so a column leaves it out; so does the plan's.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from families import THEM, US, Case, load_ours, load_theirs, write_weights
from memory import MIB, watch_memory
from time_and_memory import RESULTS

WAN = Case("Wan 2.1, a clip", "AutoencoderKLWan", {}, 16, 8, clip=True)
FRAMES_OF_A_LATENT = 4


class Row(NamedTuple):
    """Bytes: what a run added at most, what of it is the result, and what our plan said of the rest."""

    frames: int
    who: str
    peak: float
    result: int
    planned: float | None
    plan: str


def main() -> None:
    options = parse_arguments()
    if options.task:
        print(json.dumps(measure_task(options)))
        return
    with tempfile.TemporaryDirectory() as weights:
        write_weights(WAN, weights)
        rows = list(table(options, weights))
    text = format_report(rows, options)
    print(text)
    if options.write:
        name = f"frames_{options.device.partition(':')[0]}_{options.dtype}_{options.size}px.md"
        (RESULTS / name).write_text(text + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 5, 17, 33], help="of the clips, 4n + 1")
    parser.add_argument("--size", type=int, default=128, help="side of the images, in pixels")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--rows", type=int, help="ours in bands of so many rows (default: the plan's choice)")
    parser.add_argument("--only", default="", help="only who has this word in the name")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--task", nargs=3, help=argparse.SUPPRESS)  # frames, who, folder of the weights
    return parser.parse_args()


def table(options: argparse.Namespace, weights: str) -> Iterator[Row]:
    for frames in options.frames:
        for who in (one for one in (THEM, US) if options.only in one):
            runs = [run_in_process(frames, who, weights, options) for _ in range(options.runs)]
            yield Row(frames, who, **{**runs[0], "peak": statistics.median(run["peak"] for run in runs)})


def run_in_process(frames: int, who: str, weights: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--task", str(frames), who, weights]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{frames} frames, {who}, failed:\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"{frames} frames, {who}: {result['peak'] / MIB:.0f} MiB", file=sys.stderr, flush=True)
    return result


def measure_task(options: argparse.Namespace) -> dict[str, Any]:
    """In a process of its own: load, run once on a small latent of two frames, then measure."""
    import torch
    from exact_vae.vae_core.devices import DTYPES

    torch.set_grad_enabled(False)
    torch.manual_seed(1)
    frames, who, weights = int(options.task[0]), *options.task[1:]
    dtype = DTYPES[options.dtype]
    how = {"rows": options.rows} if options.rows else {}
    make = (
        load_ours(weights, dtype, options.device, **how)
        if who == US
        else load_theirs(WAN, weights, dtype, options.device)
    )
    make(make_latent(32, FRAMES_OF_A_LATENT + 1, options.device))
    z = make_latent(options.size, frames, options.device)
    with watch_memory(options.device) as memory:
        pixels = make(z)
    plan = getattr(make, "plan", None)
    planned = {"planned": plan.peak - pixels.nbytes if plan else None, "plan": str(plan) if plan else ""}
    return {"peak": memory(), "result": pixels.nbytes, **planned}


def make_latent(size: int, frames: int, device: str):
    import torch

    latents = 1 + (frames - 1) // FRAMES_OF_A_LATENT
    return torch.randn(1, WAN.channels, latents, size // WAN.ratio, size // WAN.ratio, device=device)


def format_report(rows: list[Row], options: argparse.Namespace) -> str:
    import diffusers
    import torch

    on_cpu = f"{options.threads} CPU thread(s)"
    device = on_cpu if options.device == "cpu" else torch.cuda.get_device_name()
    lines = [
        f"# Memory of decoding clips, Wan 2.1, {options.dtype}, {options.size} px",
        "",
        f"{device} ({platform.machine()}), torch {torch.__version__}, diffusers {diffusers.__version__}; medians of "
        f"{options.runs} run(s), each a process of its own. The peak is what the run adds to the loaded VAE, its "
        "latent excluded; without the result it is what a clip of any length needs.",
        "",
        "| frames | who | peak, MiB | the result, MiB | peak without it, MiB | planned, MiB | plan |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        planned = f"{row.planned / MIB:.0f}" if row.planned is not None else ""
        lines.append(
            f"| {row.frames} | {row.who} | {row.peak / MIB:.0f} | {row.result / MIB:.1f} "
            f"| {(row.peak - row.result) / MIB:.0f} | {planned} | {row.plan.partition(';')[0]} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
