"""Two thousand images, forty of them broken, to latents: the same bits however the run goes, and how fast it is.

    python benchmarks/datasets.py FOLDER [--images 2000] [--broken 40] [--kills 20] [--only kills|speed] [--seed 0]

FOLDER gets the images and the caches. Each run is a process of its own, with small shards. Told are

- whether one worker, four workers, and a run that was killed (SIGKILL to itself or to a worker) at random moments and
  begun again give files of equal bits, with nothing lost, nothing twice, no half file and no process left behind
- whether memory grows over the run; and the rate of two workers with an SD-class VAE, beside two bare encoders that
  have all pixels already
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile
import torch
from PIL import Image
from probes import HEADERS, write_sparse_file

VAE = "sd1.safetensors"  # of the published size, of zeros: the rate is that of a VAE which people train with
SHARD = 2**16  # bytes: many shards of a few dozen latents
SIDES = (64, 97)
LARGE, LARGE_SIDES, LARGE_AREA = 48, (256, 385), (256, 256)  # for the rate: how many, and their pixels a side
PATIENCE = 1800  # seconds for a run


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--images", type=int, default=2000)
    options.add_argument("--broken", type=int, default=40)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", choices=["kills", "speed"])
    options.add_argument("--run", nargs=2, metavar=("OUT", "WORKERS"), help="what this program starts itself with")
    chosen = options.parse_args()
    if chosen.run:
        run_here(chosen.folder / "photos", Path(chosen.run[0]), int(chosen.run[1]))
        return
    if not (chosen.folder / "photos").exists():
        make_images(chosen.folder / "photos", chosen.images, chosen.broken)
    if chosen.only != "speed":
        try_kills(chosen.folder, chosen.images - chosen.broken, chosen.kills, random.Random(chosen.seed))
    if chosen.only != "kills":
        measure(chosen.folder)


def make_images(folder: Path, count: int, broken: int, sides: tuple[int, int] = SIDES) -> None:
    """Images of odd sizes, modes and formats; of `broken` none can become a latent."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count - broken):
        width, height = (int(n) for n in rng.integers(*sides, 2))
        small = rng.integers(0, 256, (height // 8, width // 8, 4), dtype=np.uint8)
        image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        mode, ending = (("RGB", "png"), ("RGB", "jpg"), ("RGBA", "png"), ("L", "png"), ("RGB", "webp"))[number % 5]
        image.convert(mode).save(folder / f"{number:05}.{ending}")
        (folder / f"{number:05}.txt").write_text(f"image {number}")
    whole = [(folder / f"0000{n}.{ending}").read_bytes() for n, ending in ((0, "png"), (1, "jpg"), (4, "webp"))]
    for number in range(broken):
        spoil(folder / f"broken{number:03}", number, whole, rng)


def spoil(path: Path, number: int, whole: list[bytes], rng: np.random.Generator) -> None:
    """One of the ways in which people's images are broken."""
    kind, data = number % 10, whole[number % 3]
    png = path.with_suffix(".png")
    if kind == 0:
        png.write_bytes(b"")
    elif kind == 1:
        png.write_bytes(whole[0][: len(whole[0]) // 2])
    elif kind == 2:
        path.with_suffix(".jpg").write_bytes(whole[1][:40])
    elif kind == 3:
        png.write_text("<html>404</html>" + str(number))
    elif kind == 4:
        Image.new("RGB", (5, 90), (number, 0, 0)).save(png)
    elif kind == 5:
        png.write_bytes(data)  # there twice
    elif kind == 6:
        values = rng.random((70, 70, 3), dtype=np.float32)
        values[number % 70, 5] = np.nan
        tifffile.imwrite(path.with_suffix(".tif"), values, photometric="rgb")
    elif kind == 7:
        png.mkdir()
    elif kind == 8:
        png.symlink_to(path.with_name(f"nowhere{number}"))
    else:
        header = whole[0][:16] + (10**6).to_bytes(4, "big") * 2 + whole[0][24:]
        png.write_bytes(header)  # claims a million pixels a side


def run_here(
    source: Path,
    out: Path,
    workers: int,
    area: tuple[int, int] = (64, 64),
    progress: Any = lambda *_: None,
    vae: tuple[Path, ...] = (),
) -> None:
    from exact_vae.batch import Loading, Recipe, Request, build

    request = Request(source, out, Loading(vae, torch.float32), Recipe(area, 16), ("cpu",) * workers, shard=SHARD)
    build(request, progress=progress)


def start(folder: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, str(folder), "--run", str(out), str(workers)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def run(folder: Path, out: Path, workers: int) -> None:
    process = start(folder, out, workers)
    if process.wait(PATIENCE) != 0:
        raise SystemExit(f"the run to '{out}' ended with {process.returncode}")


def hash_files(out: Path) -> dict[str, str]:
    """All files that a run has decided: shards, index, skipped sources."""
    paths = [*(out / "shards").iterdir(), out / "index.jsonl", out / "skipped.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def try_kills(folder: Path, right: int, kills: int, draw: random.Random) -> None:
    run(folder, folder / "one", 1)
    wanted = hash_files(folder / "one")
    check_whole(folder / "one", right)
    tell("one worker", {"files": len(wanted)})
    run(folder, folder / "four", 4)
    tell("four workers", {"equal": hash_files(folder / "four") == wanted})
    done, restarts = 0, 0
    while done < kills:
        restarts += 1
        if (folder / "killed" / "index.jsonl").exists() and count_lines(folder / "killed") >= right:
            remove(folder / "killed")  # it was complete before the last kill: begun anew
        done += kill_in(start(folder, folder / "killed", 1 + done % 2), folder / "killed", draw)
    run(folder, folder / "killed", 2)
    check_whole(folder / "killed", right)
    left = [one for one in (folder / "killed").rglob("*") if one.is_file() and one.name not in wanted]
    known = {"job.json", "sources.jsonl", "index.parquet"}
    strange = [one.name for one in left if one.name not in known]
    facts = {"kills": done, "runs": restarts, "equal": hash_files(folder / "killed") == wanted, "left": strange}
    tell("killed", facts)


def count_lines(out: Path) -> int:
    return len((out / "index.jsonl").read_text().splitlines())


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True) if folder.exists() else ():
        path.rmdir() if path.is_dir() else path.unlink()


def kill_in(process: subprocess.Popen[bytes], out: Path, draw: random.Random) -> int:
    """Kill the run or one of its workers, some time after its first shard. How often it was killed: 0 or 1."""
    driver, shards = psutil.Process(process.pid), out / "shards"
    before = len(list(shards.glob("*"))) if shards.is_dir() else 0
    while process.poll() is None and (not shards.is_dir() or len(list(shards.glob("*"))) <= before):
        time.sleep(0.02)
    time.sleep(draw.random() * 1.5)
    with suppress(psutil.NoSuchProcess):
        family = [driver, *driver.children(recursive=True)]
        victim = draw.choice(family) if len(family) > 1 and draw.random() < 0.5 else driver
        victim.send_signal(signal.SIGKILL)
        if victim is not driver:  # a worker is replaced, and the run goes on
            return int(process.wait(PATIENCE) == 0)
        process.wait(PATIENCE)
        _, alive = psutil.wait_procs(family, timeout=30)
        if alive:
            raise SystemExit(f"processes that outlived their run: {[one.cmdline()[-3:] for one in alive]}")
        return 1
    return 0


def check_whole(out: Path, right: int) -> None:
    """Each image once, in the index and in the shards."""
    from exact_vae.batch import Store, verify

    found = verify(Store(out))
    paths = [row.record.path for row in Store(out).read_rows()]
    if found.problems or len(paths) != right or len(set(paths)) != right or found.latents != right:
        raise SystemExit(f"'{out}' is not whole: {len(paths)} of {right}, {found.latents}, {found.problems[:3]}")


def measure(folder: Path) -> None:
    """Memory over all images, and the rate on larger ones beside encoders that have all pixels in memory already."""
    remove(folder / "speed")
    process = start(folder, folder / "speed", 2)
    memory = list(watch_memory(process))
    thirds = memory[len(memory) // 3 :], memory[2 * len(memory) // 3 :]
    tell("memory of all processes, MiB", {"the middle third": max(thirds[0]), "the last third": max(thirds[1])})
    if not (folder / "large" / "photos").exists():
        make_images(folder / "large" / "photos", LARGE, 0, LARGE_SIDES)
        shapes = json.loads((HEADERS / "sd1.ldm.json").read_text())["shapes"]
        write_sparse_file(folder / "large" / VAE, shapes, torch.float32)
    with get_context("spawn").Pool(2) as pool:
        for turn in range(3):
            tell(f"{LARGE} larger images, turn {turn + 1}", measure_rates(folder / "large", pool))


def measure_rates(folder: Path, pool: Any) -> dict[str, float]:
    """Images per second: of two bare encoders at once, and of a run with two workers from its first latents on."""
    found = pool.starmap(measure_bare, [(folder / "photos", half) for half in range(2)])
    bare = sum(count / seconds for count, seconds in found)
    remove(folder / "out")
    started, moments = time.perf_counter(), list[tuple[float, int]]()

    def progress(done: int, total: int, skipped: int) -> None:
        moments.append((time.perf_counter(), done))

    run_here(folder / "photos", folder / "out", 2, LARGE_AREA, progress, (folder / VAE,))
    (begin, first), (end, last) = moments[4], moments[-1]  # each worker has made a few
    rate = (last - first) / (end - begin)
    whole = last / (time.perf_counter() - started)
    return {
        "bare": round(bare, 2),
        "run": round(rate, 2),
        "of it": round(rate / bare, 3),
        "with start": round(whole, 2),
    }


def measure_bare(photos: Path, half: int) -> tuple[int, float]:
    """Every second image, in this process: (how many, seconds)."""
    from exact_vae.vae_core import load

    torch.set_num_threads(1)
    vae = load(photos.parent / VAE, dtype=torch.float32, device="cpu")
    pixels = list(read_pixels(photos))[half::2]
    for one in {x.shape: x for x in pixels}.values():
        vae.encode(one)
    started = time.perf_counter()
    for one in pixels:
        vae.encode(one).mode()
    return len(pixels), time.perf_counter() - started


def read_pixels(photos: Path) -> Iterator[torch.Tensor]:
    from exact_vae.batch import Recipe
    from exact_vae.batch.encoding import load_pixels
    from exact_vae.batch.planning import plan_items, survey
    from exact_vae.batch.sources import list_sources

    recipe = Recipe(LARGE_AREA, 16).check()
    items, _ = plan_items(survey(list_sources(photos, ".txt", photos / "out"), {}, recipe.smallest).images, recipe)
    for item in items:
        yield load_pixels(item, recipe, 3)[None]


def watch_memory(process: subprocess.Popen[bytes]) -> Iterator[int]:
    """MiB of the run and its workers, each half second."""
    driver = psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            yield sum(one.memory_info().rss for one in [driver, *driver.children(recursive=True)]) >> 20
        time.sleep(0.5)


def tell(what: str, facts: dict[str, Any]) -> None:
    print(f"{what}: {json.dumps(facts)}", flush=True)


if __name__ == "__main__":
    main()
