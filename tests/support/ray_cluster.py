"""Two nodes of Ray on this machine, a job on them from a process of its own, and SIGKILL."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
LONGEST = 900  # seconds, of a job with all its kills
# Pieces of one image, so that there is something to kill between.
CODE = (
    "import sys; from exact_vae.batch.cluster import backend; from exact_vae.cli import cache_cluster, main;"
    "cache_cluster.RayBackend = lambda *all: backend.RayBackend(*all, piece=1); sys.exit(main(sys.argv[1:]))"
)


@contextmanager
def cluster() -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own 15 starves them beside other programs
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        yield found
    finally:
        found.shutdown()


def run_through_kills(photos: Path, out: Path, flags: Sequence[str], victims: Sequence[str]) -> int:
    """How many were killed until the job was whole; each when another piece was there. The driver is started anew."""
    command = [sys.executable, "-c", CODE, "cache", "build", str(photos), str(out), *flags]
    with cluster() as found:
        node = found.add_node(**NODE)
        command += ["--ray", found.address]
        driver, killed, end = subprocess.Popen(command), 0, time.monotonic() + LONGEST
        try:
            seen = -1
            while driver.poll() is None:
                assert time.monotonic() < end, "the job does not end"
                if killed < len(victims) and _count(out) > seen:
                    seen, victim = _count(out), victims[killed]
                    if victim == "driver":
                        driver.kill()
                        driver.wait()
                        driver = subprocess.Popen(command)
                    elif victim == "node":
                        found.remove_node(node, allow_graceful=False)
                        node = found.add_node(**NODE)
                    elif not kill_worker(found):
                        continue
                    killed += 1
                time.sleep(0.05)
            assert driver.returncode == 0
            return killed
        finally:
            driver.kill()


def _count(out: Path) -> int:
    """Pieces and shards that are there; -1 before any."""
    return len([*out.glob("pieces/*/*.safetensors"), *out.glob("shards/*.safetensors")]) or -1


def kill_worker(found: Any) -> bool:
    """Kill one that encodes or writes. False: there is none now."""
    for node in found.list_all_nodes():
        for info in node.all_processes.get("raylet", []):
            with suppress(psutil.Error):
                for process in psutil.Process(info.process.pid).children():
                    if "Map" in "".join(process.cmdline())[:40]:
                        process.kill()
                        return True
    return False
