"""Compares decoding with diffusers for more families: Qwen-Image (an image, a clip), HunyuanImage 2.1, Sana.

    python benchmarks/families.py [--size 512] [--frames 9] [--runs 3] [--device cpu] [--dtype fp32] [--threads 1]
                                  [--only WORD] [--write]

Random weights of the published sizes, the same for both, channels_last for both. As in time_and_memory.py every figure
comes from a process of its own; on a CPU seconds are its own, not the clock's.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from memory import MIB, watch_memory
from time_and_memory import RESULTS

US, THEM = "Exact VAE", "diffusers"


class Case(NamedTuple):
    """A published VAE: its class in diffusers with its defaults changed, and the shape of a latent."""

    title: str
    class_name: str
    config: dict[str, Any]
    channels: int
    ratio: int
    clip: bool = False


SANA = {
    "latent_channels": 32, "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "encoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "decoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3), "decoder_layers_per_block": (3, 3, 3, 3, 3, 3),
    "encoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    "decoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    "upsample_block_type": "interpolate", "downsample_block_type": "conv", "decoder_norm_types": "rms_norm",
    "decoder_act_fns": "silu",
}  # fmt: skip
CASES = (
    Case("Qwen-Image, an image", "AutoencoderKLQwenImage", {}, 16, 8),
    Case("Qwen-Image, a clip", "AutoencoderKLQwenImage", {}, 16, 8, clip=True),
    Case("HunyuanImage 2.1", "AutoencoderKLHunyuanImage", {
        "in_channels": 3, "out_channels": 3, "latent_channels": 64, "layers_per_block": 2, "sample_size": 384,
        "block_out_channels": (128, 256, 512, 512, 1024, 1024), "spatial_compression_ratio": 32}, 64, 32),
    Case("Sana (DC-AE f32c32)", "AutoencoderDC", SANA, 32, 32),
)  # fmt: skip


def main() -> None:
    options = parse_arguments()
    if options.task:
        print(json.dumps(measure_task(options)))
        return
    rows = list(table(options))
    text = format_report(rows, options)
    print(text)
    if options.write:
        name = f"families_{options.device.partition(':')[0]}_{options.dtype}_{options.size}px.md"
        (RESULTS / name).write_text(text + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="side of the images, in pixels")
    parser.add_argument("--frames", type=int, default=9, help="of the clip, 4n + 1")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--only", default="", help="only cases whose title has this word")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--task", nargs=3, help=argparse.SUPPRESS)  # case, who, folder of the weights
    return parser.parse_args()


def table(options: argparse.Namespace) -> Iterator[tuple[Case, dict[str, dict[str, Any]]]]:
    for number, case in enumerate(CASES):
        if options.only not in case.title:
            continue
        with tempfile.TemporaryDirectory() as weights:
            write_weights(case, weights)
            found: dict[str, list[dict[str, Any]]] = {US: [], THEM: []}
            for _ in range(options.runs):
                for who, results in found.items():
                    results.append(run_in_process(number, who, weights))
        medians = {who: {key: statistics.median(r[key] for r in results) for key in ("seconds", "peak")}
                   for who, results in found.items()}  # fmt: skip
        yield case, {who: {**found[who][0], **medians[who]} for who in found}


def write_weights(case: Case, folder: str) -> None:
    import diffusers
    import torch

    torch.manual_seed(0)
    getattr(diffusers, case.class_name)(**case.config).save_pretrained(folder)


def run_in_process(number: int, who: str, weights: str) -> dict[str, Any]:
    options = sys.argv[1:]
    threads = options[options.index("--threads") + 1] if "--threads" in options else "1"
    command = [sys.executable, __file__, *options, "--task", str(number), who, weights]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": threads})
    if done.returncode:
        raise SystemExit(f"{CASES[number].title}, {who}, failed:\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    said = f"{CASES[number].title}, {who}: {result['seconds']:.2f} s, {result['peak'] / MIB:.0f} MiB"
    print(said, file=sys.stderr, flush=True)
    return result


def measure_task(options: argparse.Namespace) -> dict[str, Any]:
    """In a process of its own: load, run once on a small latent, then measure."""
    import torch
    from exact_vae.vae_core.devices import DTYPES

    torch.set_grad_enabled(False)
    torch.manual_seed(1)
    number, who, weights = options.task
    case = CASES[int(number)]
    dtype = DTYPES[options.dtype]
    run = load_ours(weights, dtype, options.device) if who == US else load_theirs(case, weights, dtype, options.device)
    run(make_latent(case, 64, 1, options))
    z = make_latent(case, options.size, options.frames if case.clip else 1, options)
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    with watch_memory(options.device) as memory:
        start = clock()
        run(z)
        if options.device != "cpu":
            torch.cuda.synchronize()
        seconds = clock() - start
    return {"seconds": seconds, "peak": memory(), "plan": str(getattr(run, "plan", ""))}


def make_latent(case: Case, size: int, frames: int, options: argparse.Namespace):
    import torch

    of_clips = [1 + (frames - 1) // 4] if "Qwen" in case.title else []
    return torch.randn(1, case.channels, *of_clips, size // case.ratio, size // case.ratio, device=options.device)


def load_ours(weights: str, dtype, device: str, **how):
    """A function that decodes. Its attribute `plan` is the plan of its last run."""
    from exact_vae.vae_core import load

    vae = load(Path(weights), dtype=dtype, device=device)

    def run(z):
        return vae.decode(z, on_plan=lambda plan: setattr(run, "plan", plan), **how)

    return run


def load_theirs(case: Case, weights: str, dtype, device: str):
    import diffusers
    import torch

    vae = getattr(diffusers, case.class_name).from_pretrained(weights, torch_dtype=dtype).to(device)
    # torch has one channels_last for images and one for clips: each convolution gets its own.
    for tensor in vae.parameters():
        if tensor.ndim in (4, 5):
            kind = torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d
            tensor.data = tensor.data.contiguous(memory_format=kind)

    def run(z):
        kind = torch.channels_last if z.ndim == 4 else torch.channels_last_3d
        return vae.decode(z.to(dtype).contiguous(memory_format=kind)).sample

    return run


def format_report(rows: list[tuple[Case, dict[str, dict[str, Any]]]], options: argparse.Namespace) -> str:
    import diffusers
    import torch

    on_cpu = f"{options.threads} CPU thread(s), CPU seconds"
    device = on_cpu if options.device == "cpu" else torch.cuda.get_device_name()
    lines = [
        f"# Decoding with other families, {options.dtype}, {options.size} px",
        "",
        f"{device} ({platform.machine()}), torch {torch.__version__}, diffusers {diffusers.__version__}; medians of "
        f"{options.runs} run(s), each a process of its own. Memory is what the run adds to the loaded VAE, its input "
        f"excluded. The clip has {options.frames} frames.",
        "",
        "| VAE | diffusers | Exact VAE | ratio | diffusers, MiB | Exact VAE, MiB | ratio | plan |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, found in rows:
        us, them = found[US], found[THEM]
        lines.append(
            f"| {case.title} | {them['seconds']:.2f} s | {us['seconds']:.2f} s | {us['seconds'] / them['seconds']:.2f} "
            f"| {them['peak'] / MIB:.0f} | {us['peak'] / MIB:.0f} | {us['peak'] / them['peak']:.2f} "
            f"| {us['plan'].partition(';')[0]} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
