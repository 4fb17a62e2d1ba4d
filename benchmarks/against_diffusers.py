"""Times the same work by this library and by diffusers, in turns in one process: medians and their ratio.

    python benchmarks/against_diffusers.py [--runs 7] [--size 256] [--device cpu] [--write]

An SD-class VAE (84 million random weights, fp32) is written as a file of CompVis names and as a diffusers folder;
loading it in its own dtype and cast to bf16, encoding and decoding are timed. `--write` keeps the table in results/.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL
from exact_vae.vae_core import load

BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
WIDTHS = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4}


def main() -> None:
    options = parse_arguments()
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as place:
        AutoencoderKL(**WIDTHS, **BLOCKS).save_pretrained(place)
        table = [measure(name, ours, theirs, options) for name, ours, theirs in work(Path(place), options)]
    text = format_report(table, options)
    print(text)
    if options.write:
        kind = options.device.partition(":")[0]
        (Path(__file__).parent / "results" / f"against_diffusers_{kind}.md").write_text(text + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


def work(folder: Path, options: argparse.Namespace):
    """(name, our function, their function) for each row."""
    where, dtype = options.device, torch.float32
    ours, theirs = load(folder, dtype=dtype, device=where), AutoencoderKL.from_pretrained(folder).to(where)
    x = torch.rand(1, 3, options.size, options.size, device=where) * 2 - 1
    z = ours.encode(x).mode()
    worst = (ours.decode(z) - theirs.decode(z).sample).abs().max().item()
    print(f"largest difference of the decoded pixels, fp32: {worst:.1e}")
    yield "load, fp32", lambda: load(folder), lambda: AutoencoderKL.from_pretrained(folder)
    bf16 = {"torch_dtype": torch.bfloat16}
    yield (
        "load, cast to bf16",
        lambda: load(folder, dtype=torch.bfloat16),
        lambda: AutoencoderKL.from_pretrained(folder, **bf16),
    )
    yield f"encode {options.size} px, fp32", lambda: ours.encode(x).mode(), lambda: theirs.encode(x).latent_dist.mode()
    yield f"decode {options.size} px, fp32", lambda: ours.decode(z), lambda: theirs.decode(z).sample


def measure(name: str, ours: Callable, theirs: Callable, options: argparse.Namespace) -> tuple[str, float, float]:
    seconds: dict[Callable, list[float]] = {ours: [], theirs: []}
    for run in range(options.runs + 1):
        for call in (ours, theirs):
            start = time.perf_counter()
            kept = call()
            if options.device != "cpu":
                torch.cuda.synchronize()
            if run:  # the first warms up
                seconds[call].append(time.perf_counter() - start)
            del kept
    return name, statistics.median(seconds[ours]), statistics.median(seconds[theirs])


def format_report(table: list[tuple[str, float, float]], options: argparse.Namespace) -> str:
    device = torch.cuda.get_device_name() if options.device != "cpu" else f"{torch.get_num_threads()} CPU threads"
    lines = [
        f"# Against diffusers {diffusers.__version__}",
        "",
        f"{device} ({platform.machine()}), torch {torch.__version__}, medians of {options.runs} runs in turn.",
        "",
        "| work | Exact VAE, s | diffusers, s | ratio |",
        "|---|---|---|---|",
        *(f"| {name} | {a:.3f} | {b:.3f} | {a / b:.2f} |" for name, a, b in table),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
