"""PYTHONPATH=tests python -m attack.kills [--kills 200] [--first SEED]

Kills commands while they write: each of SIGKILL, SIGTERM, SIGHUP and SIGINT over decode, encode, run, train and save,
at random moments. After each kill the target is what it was before, or the whole result. The same command, given again,
ends with the same bytes as one that nobody killed, and leaves nothing else: no part, no scratch file. Prints a table.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from exact_vae.vae_core.latents.files import write_latent
from PIL import Image

SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
CLI = [sys.executable, "-m", "exact_vae.cli"]
SAVE = [sys.executable, "-c", "from exact_vae.vae_core import load, save; save(load(), 'out/vae.safetensors')"]
GRAPH = """{"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
            "2": {"class_type": "ExactVAELoader", "inputs": {"vae_name": "exact-vae-demo (built in)"}},
            "3": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["2", 0]}},
            "4": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["2", 0]}},
            "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "x"}}}"""
COMMANDS = {
    "decode": ([*CLI, "decode", "a.latent", "out/a.tif", "--rows", "64", "--keep", "disk", "--scratch", "scratch"],
               "a.tif"),
    "encode": ([*CLI, "encode", "a.png", "out/a.latent"], "a.latent"),
    "run": ([*CLI, "run", "g.json", "--input", ".", "--output", "out"], "x_00001_.png"),
    "train": ([*CLI, "train", "--data", "images", "--out", "out/t.safetensors", "--steps", "6", "--crop", "64",
               "--batch", "1", "--save-every", "1", "--threads", "1"], "t.safetensors"),
    "save": (SAVE, "vae.safetensors"),
}  # fmt: skip


def prepare(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("out", "scratch", "images", "temp"):
        (folder / name).mkdir(parents=True)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(folder / "images" / f"{i}.png")
    Image.fromarray(rng.integers(0, 256, (700, 500, 3), np.uint8)).save(folder / "a.png")
    write_latent(folder / "a.latent", torch.randn(1, 4, 200, 60, generator=torch.Generator().manual_seed(0)))
    (folder / "g.json").write_text(GRAPH)


def start(command: list[str], folder: Path) -> subprocess.Popen:
    surroundings = {**os.environ, "TMPDIR": str(folder / "temp"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=surroundings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(command: list[str], folder: Path) -> float:
    """Run a command to its end; the seconds that it took."""
    begin = time.monotonic()
    process = start(command, folder)
    said = process.communicate()[1].decode()
    assert process.returncode == 0, said
    return time.monotonic() - begin


def list_left(folder: Path) -> list[str]:
    """What no finished command leaves: parts, states, scratch and temporary files."""
    scratch = [p for place in ("scratch", "temp") for p in (folder / place).rglob("*") if p.is_file()]
    halves = [p for p in (folder / "out").rglob("*") if p.suffix in (".part", ".state")]
    return [str(p.relative_to(folder)) for p in scratch + halves]


def kill(name: str, how: str, after: float, before: bytes | None, truth: bytes) -> str:
    """One kill in a new folder. Returns what is bad about it, or ""."""
    command, target = COMMANDS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        path = folder / "out" / target
        if before is not None:
            path.write_bytes(before)
        process = start(command, folder)
        time.sleep(after)
        process.send_signal(getattr(signal, how))
        said = process.communicate()[1].decode()
        now = path.read_bytes() if path.exists() else None
        if now not in (before, truth):
            return f"torn: {now and len(now)} bytes"
        if "Traceback" in said and "exact-vae" in said:
            return f"a traceback: {said[-300:]}"
        if how != "SIGKILL" and process.returncode == 130 and any(".part" in one for one in list_left(folder)):
            return f"left at once: {list_left(folder)}"
        if name == "run" and path.exists():
            path.unlink()
        finish(command, folder)
        if path.read_bytes() != truth:
            return "other bytes when it was done again"
        return f"left: {left}" if (left := list_left(folder)) else ""


def main() -> int:
    options = argparse.ArgumentParser(prog="attack.kills", description=__doc__)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--first", type=int, default=0)
    chosen = options.parse_args()
    truths, seconds = {}, {}
    for name, (command, target) in COMMANDS.items():
        with tempfile.TemporaryDirectory() as place:
            prepare(Path(place))
            seconds[name] = finish(command, Path(place))
            truths[name] = (Path(place) / "out" / target).read_bytes()
    counts: Counter = Counter()
    pairs = [(name, how) for name in COMMANDS for how in SIGNALS]
    for n in range(chosen.first, chosen.first + chosen.kills):
        name, how = pairs[n % len(pairs)]
        rng = random.Random(n)
        old = rng.choice((None, b"old")) if name in ("decode", "encode", "save") else None
        why = kill(name, how, seconds[name] * rng.uniform(0.3, 1.0), old, truths[name])
        counts[name, how, bool(why)] += 1
        if why:
            print(f"{n}: {name}, {how}: {why}", file=sys.stderr, flush=True)
    print("| killed | " + " | ".join(SIGNALS) + " |\n|---|" + "---|" * len(SIGNALS))
    for name in COMMANDS:
        cells = [f"{counts[name, how, False]} well, {counts[name, how, True]} bad" for how in SIGNALS]
        print(f"| {name} | " + " | ".join(cells) + " |")
    return any(bad for *_, bad in counts)


if __name__ == "__main__":
    raise SystemExit(main())
