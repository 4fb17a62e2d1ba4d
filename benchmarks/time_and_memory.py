"""Time and peak memory of encoding and decoding beside diffusers (and ComfyUI): the same weights, the same images.

    python benchmarks/time_and_memory.py [--sizes 512 1024] [--runs 3] [--device cpu] [--dtype fp32]
                                         [--threads 1] [--comfyui FOLDER [--comfyui-python PYTHON]] [--write]

An SD-class VAE (84 million random weights) works on one image. Every figure comes from a process of its own that does
nothing else; runs of all ways follow one another in turn, and medians are kept. Memory is what a run adds to the loaded
VAE: on a CPU anonymous pages (those of files apart), on CUDA what torch has allocated. On a CPU seconds are its own,
not the clock's: with one thread they hardly depend on what else the machine does.
`--write` keeps a table in results/, and of several sizes an image.
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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from memory import MIB, watch_memory

RESULTS = Path(__file__).parent / "results"
BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
WIDTHS = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4, "sample_size": 512}


@dataclass(frozen=True)
class Way:
    """Who does the work, and how."""

    who: str
    part: str
    how: dict[str, Any] = field(default_factory=dict)
    least: int = 0  # pixels on a side below which, and beyond which, it is not tried
    most: int = 2**30

    @property
    def title(self) -> str:
        return f"{self.who}, {', '.join(f'{k} {v}' for k, v in self.how.items())}" if self.how else self.who


OURS, DIFFUSERS, COMFYUI = "Exact VAE", "diffusers", "ComfyUI"
WAYS = (
    Way(OURS, "decode", most=1024),
    Way(OURS, "decode", {"budget": "1500MiB"}, most=2048),
    Way(OURS, "decode", {"budget": "500MiB"}, most=1024),
    Way(OURS, "decode", {"budget": "2GiB", "to": "a file"}, least=2048),
    Way(DIFFUSERS, "decode", {"run": "whole"}, most=1024),
    Way(DIFFUSERS, "decode", {"run": "compiled"}, most=1024),
    Way(DIFFUSERS, "decode", {"run": "tiled"}, most=1024),
    Way(COMFYUI, "decode", {"run": "whole"}, most=1024),
    Way(COMFYUI, "decode", {"run": "tiled"}, most=1024),
    Way(OURS, "encode", most=2048),
    Way(DIFFUSERS, "encode", {"run": "whole"}, most=1024),
    Way(DIFFUSERS, "encode", {"run": "tiled"}, most=1024),
    Way(COMFYUI, "encode", {"run": "whole"}, most=1024),
)


@dataclass(frozen=True)
class Task:
    """One process's work; it goes there as JSON."""

    way: dict[str, Any]
    size: int
    weights: str
    device: str
    dtype: str
    comfyui: str | None


def main() -> None:
    options = parse_arguments()
    if options.task:
        print(json.dumps(measure_task(Task(**json.loads(options.task)))))
        return
    with tempfile.TemporaryDirectory() as place:
        write_weights(place)
        rows = list(table(options, place))
    text = format_report(rows, options)
    print(text)
    if options.write:
        name = f"time_and_memory_{options.device.partition(':')[0]}_{options.dtype}"
        (RESULTS / f"{name}.md").write_text(text + "\n")
        if len(options.sizes) > 1:
            draw(rows, RESULTS / f"{name}.png")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="sides of the images, in pixels")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--only", default="", help="only ways whose title has this word")
    parser.add_argument("--comfyui", help="a folder of ComfyUI")
    parser.add_argument("--comfyui-python", default=sys.executable, help="the Python that runs it")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    return parser.parse_args()


def write_weights(folder: str) -> None:
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    AutoencoderKL(**WIDTHS, **BLOCKS).save_pretrained(folder)


@dataclass
class Row:
    way: Way
    size: int
    seconds: float
    peak: float  # bytes
    planned: float | None  # bytes
    plan: str


def table(options: argparse.Namespace, weights: str) -> Iterator[Row]:
    for size in options.sizes:
        ways = [way for way in WAYS if way.least <= size <= way.most and options.only in f"{way.title} {way.part}"]
        ways = [way for way in ways if is_tried(way, options)]
        found: dict[int, list[dict[str, Any]]] = {i: [] for i in range(len(ways))}
        for _ in range(options.runs):
            for i, way in enumerate(ways):
                found[i].append(run_in_process(way, size, weights, options))
        for way, results in zip(ways, found.values(), strict=True):
            seconds, peak = (statistics.median(r[key] for r in results) for key in ("seconds", "peak"))
            yield Row(way, size, seconds, peak, results[0].get("planned"), results[0].get("plan", ""))


def is_tried(way: Way, options: argparse.Namespace) -> bool:
    """ComfyUI needs its folder; compiling pays on a GPU."""
    if way.how.get("run") == "compiled":
        return options.device != "cpu"
    return way.who != COMFYUI or bool(options.comfyui)


def run_in_process(way: Way, size: int, weights: str, options: argparse.Namespace) -> dict[str, Any]:
    task = Task(asdict(way), size, weights, options.device, options.dtype, options.comfyui)
    python = options.comfyui_python if way.who == COMFYUI else sys.executable
    command = [python, __file__, "--task", json.dumps(asdict(task))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{way.title} failed at {size} px:\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{way.part} {size} px, {way.title}: {result['seconds']:.2f} s, {result['peak'] / MIB:.0f} MiB", file=sys.stderr
    )
    return result


def measure_task(task: Task) -> dict[str, Any]:
    """In a process of its own: load, run once on a small image, then measure."""
    import torch

    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    way = Way(**task.way)
    prepare = {OURS: load_ours, DIFFUSERS: load_theirs, COMFYUI: comfyui}[way.who]
    run, facts = prepare(way, task)
    run(image(way, 64, task), warm=True)
    x = image(way, task.size, task)
    more = facts(x)
    clock = time.process_time if task.device == "cpu" else time.perf_counter
    with watch_memory(task.device) as memory:
        start = clock()
        run(x, warm=False)
        if task.device != "cpu":
            torch.cuda.synchronize()
        seconds = clock() - start
    return {"seconds": seconds, "peak": memory(), **more}


def image(way: Way, size: int, task: Task):
    """What goes in: a latent, or pixels in [-1, 1]."""
    import torch

    shape = (1, 4, size // 8, size // 8) if way.part == "decode" else (1, 3, size, size)
    return torch.randn(shape, device=task.device).clamp(-1, 1)


Prepared = tuple[Callable[..., Any], Callable[[Any], dict[str, Any]]]


def load_ours(way: Way, task: Task) -> Prepared:
    from exact_vae.vae_core import load
    from exact_vae.vae_core.devices import DTYPES

    vae = load(Path(task.weights), dtype=DTYPES[task.dtype], device=task.device)
    how = {key: value for key, value in way.how.items() if key != "to"}
    to_file = "to" in way.how
    call = vae.decode if way.part == "decode" else vae.encode

    def facts(x) -> dict[str, Any]:
        plan = vae.plan(way.part, x.shape, streamed=to_file, **how)
        return {"planned": plan.peak - x.nbytes, "plan": str(plan)}

    def run(x, warm: bool):
        if to_file and not warm:
            return into_file(vae.decode_rows(x, **how), 8 * x.shape[-2], 8 * x.shape[-1])
        return call(x, **({} if warm else how))

    return run, facts


def into_file(bands: Iterator[Any], height: int, width: int) -> None:
    """Bands (3, n, W) to a TIFF file, as they come."""
    from exact_vae.headless import image_files, tiff

    levels = (image_files.levels((band.movedim(0, -1) + 1) / 2) for band in bands)
    with tempfile.TemporaryDirectory() as place:
        tiff.write(Path(place) / "decoded.tif", (height, width, 3), levels)


def load_theirs(way: Way, task: Task) -> Prepared:
    import torch
    from diffusers import AutoencoderKL
    from exact_vae.vae_core.devices import DTYPES

    dtype = DTYPES[task.dtype]
    vae = AutoencoderKL.from_pretrained(task.weights, torch_dtype=dtype).to(task.device)
    vae.to(memory_format=torch.channels_last)
    if way.how["run"] == "tiled":
        vae.enable_tiling()
    decode, encode = vae.decode, vae.encode
    if way.how["run"] == "compiled":
        decode = torch.compile(vae.decode)

    def run(x, warm: bool):
        x = x.to(dtype).contiguous(memory_format=torch.channels_last)
        return decode(x).sample if way.part == "decode" else encode(x).latent_dist.mode()

    if way.how["run"] == "compiled":
        run(image(way, task.size, task), True)
    return run, lambda x: {}


def comfyui(way: Way, task: Task) -> Prepared:
    sys.path.insert(0, task.comfyui)
    sys.argv = ["main.py", *(["--cpu"] if task.device == "cpu" else []), f"--{task.dtype}-vae"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.sd
    import comfy.utils

    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(f"{task.weights}/diffusion_pytorch_model.safetensors"))
    tiled = way.how["run"] == "tiled"

    def run(x, warm: bool):
        if way.part == "decode":
            return vae.decode_tiled(x) if tiled else vae.decode(x)
        x = (x.movedim(1, -1) + 1) / 2
        return vae.encode_tiled(x) if tiled else vae.encode(x)

    return run, lambda x: {}


def format_report(rows: list[Row], options: argparse.Namespace) -> str:
    import diffusers
    import torch

    on_cpu = f"{options.threads} CPU thread(s), CPU seconds"
    device = on_cpu if options.device == "cpu" else torch.cuda.get_device_name()
    lines = [
        f"# Time and peak memory, SD-class VAE, {options.dtype}",
        "",
        f"{device} ({platform.machine()}), torch {torch.__version__}, diffusers {diffusers.__version__} in "
        f"channels_last; medians of {options.runs} run(s), each a process of its own. Memory is what the run adds to "
        "the loaded VAE, input excluded. Ratios are to diffusers whole, of the same size.",
    ]
    for part in ("decode", "encode"):
        lines += ["", f"## {part.capitalize()}", "", *section([row for row in rows if row.way.part == part])]
    return "\n".join(lines)


def section(rows: list[Row]) -> Iterator[str]:
    yield "| image | who and how | seconds | ratio | peak, MiB | ratio | planned, MiB | plan |"
    yield "|---|---|---|---|---|---|---|---|"
    reference = {row.size: row for row in rows if row.way.who == DIFFUSERS and row.way.how["run"] == "whole"}
    for row in rows:
        peer = reference.get(row.size)
        ratios = (f"{row.seconds / peer.seconds:.2f}", f"{row.peak / peer.peak:.2f}") if peer else ("", "")
        planned = f"{row.planned / MIB:.0f} ({row.planned / row.peak:.2f})" if row.planned else ""
        yield (
            f"| {row.size} px | {row.way.title} | {row.seconds:.2f} | {ratios[0]} | {row.peak / MIB:.0f} | {ratios[1]} "
            f"| {planned} | {row.plan.partition(';')[0]} |"
        )


def draw(rows: list[Row], path: Path) -> None:
    """Seconds and MiB of decoding against the size, one line for each way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for axes, key, unit in zip(figure.subplots(1, 2), ("seconds", "peak"), ("seconds", "MiB"), strict=True):
        for title in dict.fromkeys(row.way.title for row in rows if row.way.part == "decode"):
            own = [row for row in rows if row.way.title == title and row.way.part == "decode"]
            values = [getattr(row, key) / (MIB if key == "peak" else 1) for row in own]
            axes.plot([row.size for row in own], values, "o-", label=title)
        axes.set(xscale="log", yscale="log", xlabel="side of the image, pixels", ylabel=f"decode, {unit}")
        axes.set_xticks(sorted({row.size for row in rows}), labels=sorted({row.size for row in rows}), minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[1].legend(fontsize="small")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
