"""Does a run take the memory that its plan says, and no more than its budget?

    python benchmarks/budgets.py [--only WORD] [--list] [--write]

Families of the published sizes, with weights of zeros in files that take no room on the disk. Every run has a process
of its own, with one thread: it loads, runs once on a small image, and is then watched. What the run adds is held
against the plan (input included, where the run reads the caller's own). `--write` keeps the table in results/.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from memory import MIB, watch_memory
from probes import HEADERS, write_sparse_file
from time_and_memory import RESULTS, into_file

LEAST, MOST, OVER = 0.95, 1.30, 1.05  # of predicted over measured, and of measured over the budget
BUILT_IN = ""  # no header: the VAE of the pack itself


@dataclass(frozen=True)
class Case:
    """One run.

    header  of tests/headers; '' for the built-in VAE
    half    'decode' or 'encode'
    size    of the images, in pixels
    rows    in a band at most; as many as the image has: whole
    to      'a file': the result goes there, or the image comes from there, row by row
    """

    header: str
    half: str
    size: tuple[int, int]
    batch: int = 1
    frames: int = 0
    dtype: str = "fp32"
    budget: str | None = None
    rows: int | None = None
    keep: str | None = None
    to: str = ""

    @property
    def title(self) -> str:
        name = self.header.partition(".")[0] or "built-in"
        clip = f", {self.frames} frames" if self.frames else ""
        batch = f"{self.batch} x " if self.batch > 1 else ""
        return f"{name} {self.half} {batch}{self.size[1]}x{self.size[0]}{clip} {self.dtype}"

    @property
    def way(self) -> str:
        said = {"budget": self.budget, "rows": self.rows, "keep": self.keep, "to": self.to}
        return ", ".join(f"{key} {value}" for key, value in said.items() if value) or "as it comes"


def square(header: str, half: str, side: int, **how: Any) -> Case:
    return Case(header, half, (side, side), **how)


SD, FLUX2, TAESD, TAEF2 = "sd1.ldm", "flux2.ldm", "taesd.module", "taef2.comfy"
HUNYUAN, QWEN, WAN, TAEHV = "hunyuanimage21.ldm", "qwen-image.comfy", "wan21.original", "taehv.original"
LTX = "ltxv-0.9.0.original"
CASES = (
    square(SD, "decode", 256),
    square(SD, "decode", 256, rows=256),
    square(SD, "decode", 128, rows=128),
    square(SD, "decode", 384, budget="280MiB"),
    square(SD, "decode", 384, keep="disk"),
    square(SD, "decode", 256, batch=2, budget="300MiB"),
    square(SD, "decode", 128, dtype="bf16", keep="disk"),
    square(SD, "decode", 128, dtype="bf16", keep="disk", to="a file"),
    square(SD, "decode", 256, to="a file"),
    square(SD, "encode", 512),
    square(SD, "encode", 512, keep="disk"),
    square(SD, "encode", 256, rows=256),
    square(SD, "encode", 128, dtype="bf16", budget="120MiB"),
    square(FLUX2, "decode", 128, dtype="bf16"),
    square(FLUX2, "encode", 256),
    square(TAESD, "decode", 512),
    square(TAESD, "decode", 1024),
    square(TAESD, "decode", 512, rows=512, batch=2),
    square(TAESD, "encode", 1024),
    square(TAESD, "encode", 1024, budget="80MiB"),
    square(TAEF2, "decode", 512),
    square(TAEF2, "decode", 1024, budget="60MiB"),
    square(TAEF2, "decode", 1024, budget="64MiB"),
    square(TAEF2, "decode", 512, rows=512),
    square(TAEF2, "encode", 1024),
    square(TAEF2, "encode", 512, dtype="bf16"),
    square(TAEF2, "decode", 1024, to="a file"),
    square(BUILT_IN, "decode", 512),
    square(BUILT_IN, "decode", 512, budget="85MiB"),
    square(BUILT_IN, "decode", 1024, keep="disk"),
    square(BUILT_IN, "decode", 1024, keep="disk", to="a file"),
    square(BUILT_IN, "decode", 512, batch=3, rows=512),
    square(BUILT_IN, "encode", 1024),
    square(BUILT_IN, "encode", 1024, keep="disk"),
    square(BUILT_IN, "encode", 512, dtype="bf16"),
    square(HUNYUAN, "decode", 256),
    square(HUNYUAN, "decode", 256, keep="disk"),
    square(HUNYUAN, "decode", 256, rows=256),
    square(HUNYUAN, "encode", 256),
    square(QWEN, "decode", 256),
    square(QWEN, "decode", 256, rows=256),
    square(QWEN, "encode", 256),
    square(QWEN, "decode", 128, dtype="bf16"),
    square(WAN, "decode", 128, frames=5),
    square(WAN, "encode", 128, frames=5),
    square("wan22.original", "decode", 128),
    square("hunyuanvideo.comfy", "decode", 128),
    square("hunyuanvideo15.ldm", "decode", 128),
    square("svd.ldm", "decode", 128, frames=3),
    square(TAEHV, "decode", 256, frames=9),
    square(TAEHV, "decode", 512),
    square("dc-ae-f32c32-sana.original", "decode", 256),
    square("dc-ae-f32c32-sana.original", "encode", 256),
    square("amused-vq.diffusers", "decode", 128),
    square("kandinsky-movq.ldm", "decode", 128),
    square("stable-cascade-stage-a.comfy", "decode", 512),
    square("asymmetric-kl-x-2.ldm", "decode", 128),
    *(square("hunyuanvideo15.ldm", "decode", n) for n in (96, 192, 256)),
    *(square(TAEHV, "decode", n) for n in (384, 768)),
    *(square(TAESD, "decode", n) for n in (384, 640, 768)),
    *(square(TAEF2, "decode", n) for n in (384, 640, 768)),
    square(TAEF2, "decode", 768, keep="disk"),
    square(TAESD, "encode", 768, keep="disk"),
    square(WAN, "decode", 128),
    square(WAN, "decode", 192, frames=9),
    square(QWEN, "decode", 384),
    square(QWEN, "decode", 384, keep="disk"),
    square(LTX, "decode", 256, frames=9),
    square(LTX, "decode", 256),
    square(SD, "decode", 512),
    square(SD, "decode", 320, keep="disk", to="a file"),
    square(SD, "encode", 320, dtype="bf16"),
    square(SD, "decode", 512, dtype="bf16"),
    square(WAN, "decode", 128, frames=9, dtype="bf16"),
    square(WAN, "encode", 128, frames=9, dtype="bf16"),
    square(LTX, "decode", 256, frames=9, dtype="bf16"),
    square("hunyuanvideo15.ldm", "decode", 128, dtype="bf16"),
    square("dc-ae-f32c32.original", "decode", 256, dtype="bf16"),
    square(BUILT_IN, "decode", 768),
    square(BUILT_IN, "decode", 256),
    square(BUILT_IN, "encode", 640, keep="disk"),
    square(BUILT_IN, "encode", 384),
    square(FLUX2, "decode", 256),
    square("kandinsky-movq.ldm", "decode", 256),
    square("stable-cascade-stage-a.comfy", "decode", 768),
    square("dc-ae-f32c32-sana.original", "encode", 512),
)


@dataclass(frozen=True)
class Row:
    """What was planned and what was measured, in bytes; of the plan also in words."""

    case: Case
    planned: int
    measured: int
    budget: int | None
    plan: str

    @property
    def ratio(self) -> float:
        return self.planned / self.measured

    @property
    def over(self) -> float | None:
        return self.measured / self.budget if self.budget else None

    @property
    def faults(self) -> str:
        said = {
            "predicts too little": self.ratio < LEAST,
            "predicts too much": self.ratio > MOST,
            "over its budget": bool(self.over and self.over > OVER),
        }
        return ", ".join(word for word, is_so in said.items() if is_so)


def main() -> None:
    options = parse_arguments()
    if options.task:
        print(json.dumps(measure_task(*options.task)))
        return
    cases = [case for case in CASES if options.only in f"{case.title}, {case.way}"]
    if options.list:
        print(*(f"{case.title}, {case.way}" for case in cases), sep="\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = list(measure(cases, Path(folder)))
    text = format_report(rows)
    print(text)
    if options.write:
        (RESULTS / "budgets.md").write_text(text + "\n")
    sys.exit(any(row.faults for row in rows))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only cases whose title or way has this word")
    parser.add_argument("--list", action="store_true", help="print the cases, and measure nothing")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--task", nargs=2, help=argparse.SUPPRESS)  # the case's number, the file of its weights
    return parser.parse_args()


def measure(cases: list[Case], folder: Path) -> Iterator[Row]:
    for case in cases:
        weights = folder / f"{case.header}.safetensors"
        if case.header and not weights.exists():
            shapes = json.loads((HEADERS / f"{case.header}.json").read_text())["shapes"]
            write_sparse_file(weights, shapes, torch.float32)
        command = [sys.executable, __file__, "--task", str(CASES.index(case)), str(weights)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode:
            raise SystemExit(f"{case.title}, {case.way} failed:\n{done.stderr}")
        row = Row(case, **json.loads(done.stdout.splitlines()[-1]))
        print(format_row(row), file=sys.stderr, flush=True)
        yield row


def measure_task(number: str, weights: str) -> dict[str, Any]:
    """In a process of its own: load, plan, run once on a small image, then measure."""
    from exact_vae.vae_core import load
    from exact_vae.vae_core.devices import DTYPES
    from exact_vae.vae_core.execution import read_budget

    torch.set_grad_enabled(False)
    case = CASES[int(number)]
    vae = load(*([weights] if case.header else []), dtype=DTYPES[case.dtype], device="cpu")
    how = {key: value for key, value in asdict(case).items() if key in ("budget", "rows", "keep") and value}
    shape = find_shape(vae, case, case.size)
    plan = vae.plan(case.half, shape, streamed=bool(case.to), **how)
    small = find_shape(vae, case, (vae.spatial_ratio * 2,) * 2)
    run(vae, case, torch.zeros(1, *small[1:]), {"rows": 8})
    x = torch.zeros(shape)
    own = x.nbytes if vae.dtype is torch.float32 and not (case.to and case.half == "encode") else 0
    with watch_memory("cpu") as memory:
        run(vae, case, x, how)
    budget = read_budget(vae.device, case.budget) if case.budget else None
    return {"planned": plan.peak, "measured": memory() + own, "budget": budget, "plan": str(plan)}


def find_shape(vae: Any, case: Case, size: tuple[int, int]) -> tuple[int, ...]:
    """Of pixels or of a latent."""
    frames = (case.frames,) if case.frames else ()
    if case.half == "encode":
        return (case.batch, vae.in_channels, *frames, *size)
    if case.frames and vae.clip_law:
        frames = (vae.clip_law.latents(case.frames),)
    return (case.batch, vae.latent_channels, *frames, *(n // vae.spatial_ratio for n in size))


def run(vae: Any, case: Case, x: Any, how: dict[str, Any]) -> Any:
    if case.to:
        height, width = (vae.decoded_ratio * n for n in x.shape[-2:])
        return into_file(vae.decode_rows(x, **how), height, width)
    return vae.decode(x, **how) if case.half == "decode" else vae.encode(x, **how).mode()


def format_report(rows: list[Row]) -> str:
    bad = sum(bool(row.faults) for row in rows)
    return "\n".join(
        [
            "# Memory that is planned and memory that is used",
            "",
            f"One CPU thread ({platform.machine()}), torch {torch.__version__}. MiB that a run adds to the loaded VAE, "
            f"each in a process of its own. Of {len(rows)} runs {bad} break a rule: planned is at least {LEAST} and at "
            f"most {MOST} of what is measured, and no run takes more than {OVER} of its budget.",
            "",
            "| run | asked for | planned | measured | ratio | budget | of it | plan | |",
            "|---|---|---|---|---|---|---|---|---|",
            *map(format_row, rows),
        ]
    )


def format_row(row: Row) -> str:
    budget = (f"{row.budget / MIB:.0f}", f"{row.over:.2f}") if row.budget and row.over else ("", "")
    facts = (
        row.case.title,
        row.case.way,
        f"{row.planned / MIB:.1f}",
        f"{row.measured / MIB:.1f}",
        f"{row.ratio:.2f}",
        *budget,
        row.plan.partition(";")[0],
        row.faults,
    )
    return f"| {' | '.join(facts)} |"


if __name__ == "__main__":
    main()
