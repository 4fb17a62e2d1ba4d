"""How long a survey of a folder of checkpoints takes: `exact-vae inspect FOLDER`, and what of it is the survey itself.

    python benchmarks/survey.py [--files 100] [--gigabytes 7] [--runs 5] [--write] [--profile]

--profile  instead of a table: where the time of one survey goes

The files are sparse: a header as a published file has it, and behind it holes of the right length. `SDXL` are full
checkpoints of the same names, some 2500 tensors each; `different` are such as a user has, none like another: full
checkpoints, diffusion models like Flux's and Wan's of 2500 tensors each, and VAEs; `every kind` has the headers of
tests/headers in turn, each with as many tensors of a diffusion model beside it, so that nearly all families are met.
Seconds are the processor's own, of all threads, and the clock's: the least of the runs, each of which is a process of
its own. The floor is what Python takes to parse the headers as JSON and do nothing with them, in the same process.
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
WB = ("weight", "bias")
GOAL = 2.0  # seconds of the clock, for 100 files on two cores
SURVEY = """
import sys
from exact_vae.vae_core.reports import survey_files
import torch, time, json, gc
from pathlib import Path
start, cpu = time.perf_counter(), time.process_time()
rows = survey_files(sys.argv[1:])
taken = [time.perf_counter() - start, time.process_time() - cpu]
gc.disable()
cpu = time.process_time()
for path in Path(sys.argv[1]).iterdir():
    with path.open("rb") as file:
        json.loads(file.read(int.from_bytes(file.read(8), "little")))
print(json.dumps([*taken, time.process_time() - cpu, sum(not row.problem for row in rows)]))
"""
Shapes = dict[str, list[int]]
FULL = ("sdxl.checkpoint-prefixed", "sd1.checkpoint-prefixed", "flux1.checkpoint-prefixed",
        "qwen-image.checkpoint-prefixed", "ltx-2.0.checkpoint-prefixed")  # fmt: skip
VAES = ("sdxl.ldm", "sd1.ldm", "flux1.ldm", "flux2.diffusers", "qwen-image.comfy", "wan22.original",
        "hunyuanvideo.comfy", "taef1.comfy", "flux1.diffusers", "sdxl.diffusers")  # fmt: skip


def read_shapes(name: str) -> Shapes:
    return json.loads((HEADERS / f"{name}.json").read_text())["shapes"]


def write_sparse(path: Path, shapes: Shapes, size: int, title: str, others: list[str] | None = None) -> None:
    """A safetensors file of these tensors in fp16, and of others of a diffusion model so that it is `size` bytes."""
    if others is None:
        others = [f"model.diffusion_model.middle_block.{i}.weight" for i in range(OTHERS)]
    own = 2 * sum(map(math.prod, shapes.values()))
    each = max(2, (size - own) // (2 * max(len(others), 1)))
    header, end = {"__metadata__": {"modelspec.title": title}}, 0
    for name, shape in {**shapes, **{name: [each] for name in others}}.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + end)


def name_unet(i: int, prefix: str = "model.diffusion_model.") -> list[str]:
    """Names as SDXL's U-Net has, of a depth that only this file has."""
    inside = ("norm1", "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "norm2", "attn2.to_q", "attn2.to_k",
              "attn2.to_v", "attn2.to_out.0", "norm3", "ff.net.0.proj", "ff.net.2")  # fmt: skip
    at = [f"{prefix}input_blocks.{b}.1.transformer_blocks.{d}" for b in range(9) for d in range(9 + i % 7)]
    return [f"{prefix}out.{i}.weight", *(f"{block}.{part}.{t}" for block in at for part in inside for t in WB)]


def name_flux(i: int, prefix: str = "") -> list[str]:
    """Names as Flux's transformer has; see `name_unet`."""
    double = [f"double_blocks.{b}.{side}_{part}" for b in range(45 + i % 5) for side in ("img", "txt")
              for part in ("attn.qkv", "attn.proj", "mlp.0", "mlp.2", "mod.lin", "attn.norm.query_norm")]  # fmt: skip
    single = [f"single_blocks.{b}.{part}" for b in range(150 + i) for part in ("linear1", "linear2", "modulation.lin")]
    return [f"{prefix}{name}.{t}" for name in ("img_in", "txt_in", *double, *single) for t in WB]


def name_wan(i: int, prefix: str = "") -> list[str]:
    """Names as Wan's transformer has; see `name_unet`."""
    parts = [f"{kind}_attn.{part}" for kind in ("self", "cross") for part in ("q", "k", "v", "o", "norm_q", "norm_k")]
    blocks = [f"blocks.{b}.{part}" for b in range(80 + i % 5) for part in (*parts, "ffn.0", "ffn.2", "norm3")]
    return [f"{prefix}{name}.{t}" for name in ("patch_embedding", f"head.head{i}", *blocks) for t in WB]


def make_different(i: int) -> tuple[Shapes, list[str]]:
    """What is in one of many files, none of which is like another: the tensors of its VAE, and names of others."""
    kind, prefix = i % 5, ("", "model.diffusion_model.")[i // 5 % 2]
    if kind == 0:
        return {}, name_flux(i, prefix)
    if kind == 1:
        return {}, name_wan(i, prefix)
    if kind == 2:
        return read_shapes(VAES[i // 5 % len(VAES)]), [f"loss.more.{n}" for n in range(i)]
    return read_shapes(FULL[i // 5 % len(FULL)]), (name_unet if kind == 3 else name_flux)(i, "model.diffusion_model.")


def make_folders(folder: Path, files: int, size: int) -> Iterator[tuple[str, Path]]:
    different = folder / "different"
    different.mkdir()
    for i in range(files):
        shapes, others = make_different(i)
        write_sparse(different / f"{i:03}.safetensors", shapes, size, f"model {i}", others)
    yield "different", different
    every = sorted(path.stem for path in HEADERS.glob("*.json"))
    for title, names in (("SDXL", ["sdxl.checkpoint-prefixed"]), ("every kind", every)):
        inside = folder / title.replace(" ", "-")
        inside.mkdir()
        for i in range(files):
            write_sparse(inside / f"{i:03}.safetensors", read_shapes(names[i % len(names)]), size, f"model {i}")
        yield title, inside


def run_survey(folder: Path) -> tuple[float, float, float, int]:
    """(seconds of the clock, of the processor, of the processor for the floor, files that would load)"""
    made = subprocess.run([sys.executable, "-c", SURVEY, str(folder)], check=True, capture_output=True, text=True)
    clock, cpu, floor, fine = json.loads(made.stdout)
    return clock, cpu, floor, fine


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
    lines = ["| folder | would load | survey: clock | processor | floor | of it | command: clock | processor |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for title, folder in folders:
        surveys, commands = zip(*((run_survey(folder), run_command(folder)) for _ in range(runs)), strict=True)
        clock, cpu, floor = (min(s[part] for s in surveys) for part in range(3))
        whole, whole_cpu = min(c[0] for c in commands), min(c[1] for c in commands)
        count = len(list(folder.iterdir()))
        lines.append(f"| {title} | {surveys[0][3]} of {count} | {clock:.2f} s | {cpu:.2f} s | {floor:.2f} s "
                     f"| {cpu / floor:.1f} x | {whole:.2f} s | {whole_cpu:.2f} s |")  # fmt: skip
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
