"""Checks the GPU path in one call: is it right, how fast is it, how much memory does it need?

    python benchmarks/on_gpu.py [--device cuda] [--size 256] [--dtypes fp32 bf16 fp16] [--right-only]

First each VAE of families.py and an SD-class one decode and encode on the device in fp32 (TF32 off), bf16 and fp16,
whole and in bands of rows, beside the same in float64 on the CPU: a table in results/. Then time_and_memory.py and
families.py run there beside diffusers in bf16 and fp16 and write theirs. `--device cpu` tries the script itself.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from exact_vae.vae_core import load
from exact_vae.vae_core.dtypes import DTYPES

sys.path.insert(0, str(Path(__file__).parent))
from families import CASES, Case, write_weights
from time_and_memory import BLOCKS, RESULTS, WIDTHS

SD = Case("SD-class", "AutoencoderKL", {**WIDTHS, **BLOCKS}, 4, 8)
SPEED = (
    "time_and_memory.py --sizes 1024 2048 --dtype bf16",
    "time_and_memory.py --sizes 1024 --dtype fp16",
    "families.py --size 1024 --frames 17 --dtype bf16",
)


class Found(NamedTuple):
    """Errors are the largest of all pixels (or numbers of a latent), in standard deviations of the true ones."""

    case: str
    part: str
    dtype: str
    whole: float
    bands: float  # the same in bands of rows
    apart: float  # bands from whole


def main() -> None:
    options = parse_arguments()
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    text = format_report([found for case in (SD, *CASES) for found in right(case, options)], options)
    print(text, flush=True)
    kind = options.device.partition(":")[0]
    (RESULTS / f"right_on_{kind}.md").write_text(text + "\n")
    for script in () if options.right_only else SPEED:
        name, *how = script.split()
        subprocess.run([sys.executable, Path(__file__).parent / name, *how, "--device", options.device, "--write"])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=256, help="side of the images whose numbers are compared")
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16", "fp16"], choices=DTYPES)
    parser.add_argument("--right-only", action="store_true", help="no times")
    return parser.parse_args()


def right(case: Case, options: argparse.Namespace) -> Iterator[Found]:
    torch.manual_seed(0)
    of_clips = (5 if case.clip else 1,) if "Qwen" in case.title else ()
    pixels = torch.rand(1, 3, *of_clips, options.size, options.size) * 2 - 1
    with tempfile.TemporaryDirectory() as weights:
        write_weights(case, weights)
        true = load(Path(weights), dtype=torch.float64)
        latent = true.encode(pixels).mode()
        given = {"encode": (pixels, latent), "decode": (latent, true.decode(latent))}
        for name in options.dtypes:
            vae = load(Path(weights), dtype=DTYPES[name], device=options.device)
            for part, (x, wanted) in given.items():
                yield Found(case.title, part, name, *errors(vae, part, x, wanted))


def errors(vae: Any, part: str, x: torch.Tensor, wanted: torch.Tensor) -> tuple[float, float, float]:
    def run(**how: Any) -> torch.Tensor:
        made = vae.decode(x, **how) if part == "decode" else vae.encode(x, **how).mode()
        return made.double().cpu()

    whole, bands = run(), run(rows=16)
    spread = wanted.double().std()
    far = [((a - b).abs().max() / spread).item() for a, b in ((whole, wanted), (bands, wanted), (bands, whole))]
    return far[0], far[1], far[2]


def format_report(found: list[Found], options: argparse.Namespace) -> str:
    device = "a CPU" if options.device == "cpu" else torch.cuda.get_device_name()
    lines = [
        f"# Right on {device}, {options.size} px",
        "",
        f"torch {torch.__version__}, TF32 off. Largest error of any number against float64 on the CPU, in standard "
        "deviations of the true numbers; random weights of the published sizes. Bands have 16 rows.",
        "",
        "| VAE | | dtype | whole | bands | bands from whole |",
        "|---|---|---|---|---|---|",
    ]
    rows = (f"| {f.case} | {f.part} | {f.dtype} | {f.whole:.1e} | {f.bands:.1e} | {f.apart:.1e} |" for f in found)
    return "\n".join([*lines, *rows])


if __name__ == "__main__":
    main()
