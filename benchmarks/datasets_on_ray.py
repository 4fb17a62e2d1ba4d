"""The images of benchmarks/datasets.py to latents on two nodes of Ray, and SIGKILL to workers, drivers and nodes.

    python benchmarks/datasets_on_ray.py FOLDER [--kills 20] [--drivers 8] [--nodes 3] [--seed 0] [--piece 16]

FOLDER is one in which benchmarks/datasets.py has made `photos` and, by the local run, `one`. The nodes are started on
this machine by Ray's own Cluster utility, with a processor each. A kill comes at a random moment after another piece
is there; the second node, once killed, is replaced, and a driver is started anew with the same command. Told are

- whether the files are those of the local run, to the bit, with nothing lost, nothing twice and no half file
- how long it took until the next piece was there after each kill: the driver's start, Ray's and the VAE's included
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.ray_cluster import kill_worker

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
WORKER, DRIVER, MACHINE = "worker", "driver", "node"
LONGEST_PAUSE = 2.0  # seconds from a new piece to the kill
LONGEST_WAIT = 600.0  # seconds without a new piece: then it stands still


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--drivers", type=int, default=8, help="of the kills")
    options.add_argument("--nodes", type=int, default=3, help="of the kills")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--piece", type=int, default=16, help="images of a piece, about")
    options.add_argument("--run", metavar="ADDRESS", help="what this program starts itself with")
    chosen = options.parse_args()
    if chosen.run:
        run_there(chosen.folder, chosen.run, chosen.piece)
        return
    out = chosen.folder / "ray"
    datasets.remove(out)
    draw = random.Random(chosen.seed)
    workers = [WORKER] * (chosen.kills - chosen.drivers - chosen.nodes)
    victims = [*workers, *[DRIVER] * chosen.drivers, *[MACHINE] * chosen.nodes]
    draw.shuffle(victims)
    with Trial(chosen.folder, out, chosen.piece) as trial:
        kills = list(trial.run(victims, draw))
    judge(chosen.folder, out, kills)


def run_there(folder: Path, address: str, piece: int) -> None:
    import torch
    from exact_vae.batch import Loading, Recipe, Request, build
    from exact_vae.batch.cluster import RayBackend, connect

    with connect(address) as ray:
        backend = RayBackend(ray, "cpu", (folder / "photos",), piece=piece)
        recipe, loading = Recipe((64, 64), 16), Loading(dtype=torch.float32)
        build(Request(folder / "photos", folder / "ray", loading, recipe, shard=datasets.SHARD, backend=backend))


class Trial:
    """A cluster of two nodes, and a driver on it."""

    def __init__(self, folder: Path, out: Path, piece: int):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own 15 starves them beside other programs
        from ray.cluster_utils import Cluster

        self._out = out
        self._cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        self._node = self._cluster.add_node(**NODE)
        how = ["--piece", str(piece), "--run", self._cluster.address]
        self._command = [sys.executable, __file__, str(folder), *how]
        self._driver = self._start()

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *error: object) -> None:
        self._driver.kill()
        self._cluster.shutdown()

    def run(self, victims: list[str], draw: random.Random) -> Iterator[tuple[str, float]]:
        """Who was killed, and the seconds until there was another piece. Returns when the job is whole."""
        for victim in victims:
            self._wait_for_more()
            time.sleep(draw.random() * LONGEST_PAUSE)
            while not self._kill(victim):
                self._wait_for_more()
            began = time.monotonic()
            self._wait_for_more()
            tell_one = (victim, round(time.monotonic() - began, 1))
            print(f"{tell_one[0]} killed, {len(self._made())} files; the next after {tell_one[1]} s", flush=True)
            yield tell_one
        if self._driver.wait(datasets.PATIENCE) != 0:
            raise SystemExit(f"the run ended with {self._driver.returncode}")

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def _made(self) -> set[str]:
        pieces = (path.name for path in self._out.glob("pieces/*/*.safetensors"))
        return {*pieces, *(path.name for path in self._out.glob("shards/*.safetensors"))}

    def _wait_for_more(self) -> None:
        """Until a file is there that was not. A piece that gives way to its shard is none."""
        before, end = self._made(), time.monotonic() + LONGEST_WAIT
        while not self._made() - before:
            if self._driver.poll() is not None:
                raise SystemExit(f"the run ended with {self._driver.returncode} before all kills: take more images")
            if time.monotonic() > end:
                raise SystemExit(f"no piece for {LONGEST_WAIT:.0f} s: {len(before)} files are there")
            time.sleep(0.05)

    def _kill(self, victim: str) -> bool:
        if victim == WORKER:
            return kill_worker(self._cluster)
        if victim == DRIVER:
            self._driver.kill()
            self._driver.wait()
            self._driver = self._start()
        else:
            self._cluster.remove_node(self._node, allow_graceful=False)
            self._node = self._cluster.add_node(**NODE)
        return True


def judge(folder: Path, out: Path, kills: list[tuple[str, float]]) -> None:
    wanted = datasets.hash_files(folder / "one")
    datasets.check_whole(out, datasets.count_lines(folder / "one"))
    known = {*wanted, "job.json", "sources.jsonl", "index.parquet"}
    strange = [one.name for one in out.rglob("*") if one.is_file() and one.name not in known]
    longest: dict[str, float] = {}
    for victim, seconds in kills:
        longest[victim] = max(longest.get(victim, 0.0), seconds)
    facts: dict[str, Any] = {"kills": len(kills), "equal": datasets.hash_files(out) == wanted, "left": strange}
    datasets.tell("on Ray", {**facts, "longest wait after one, seconds": longest})
    print(json.dumps(kills))


if __name__ == "__main__":
    main()
