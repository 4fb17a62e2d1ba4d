"""PYTHONPATH=tests python -m attack.soak [--decodes 1000] [--first SEED]

Decodes again and again in one process: small networks of several families, sizes, batches and ways at random. After the
first fifth the memory of the process grows by less than 5 MiB, and it has as many descriptors and threads as then.
Prints a table.

What torch keeps is held small meanwhile: oneDNN and ideep, torch's way to it, keep the latest 1024 convolutions that
they compiled for shapes, some 75 MiB, and a thousand sizes would fill that.
"""

import argparse
import ctypes
import gc
import os
import random
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from exact_vae.vae_core.execution import Tiles
from support.small_networks import small

KINDS = ("kl", "tiny", "vq: MoVQ", "dc_ae", "wan: 2.2", "tiny_video")
MOST = 5 * 2**20  # bytes
CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32", "LRU_CACHE_CAPACITY": "32"}  # read when torch is imported


class Reading(NamedTuple):
    """Of this process: bytes of anonymous memory, open descriptors, threads."""

    memory: int
    descriptors: int
    threads: int

    @classmethod
    def take(cls) -> "Reading":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is free, but not yet given back
        resident, shared = (int(word) for word in Path("/proc/self/statm").read_text().split()[1:3])
        memory = (resident - shared) * os.sysconf("SC_PAGE_SIZE")
        return cls(memory, len(os.listdir("/proc/self/fd")), threading.active_count())


def choose_way(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A way to run, and its options."""
    ways = {
        "whole": {"rows": 2**20},
        "bands": {"rows": rng.choice((8, 16, 24))},
        "bands on disk": {"rows": rng.choice((8, 16)), "keep": "disk"},
        "as it comes": {},
        "by rows": {"rows": 16},
        "tiles": {"tiles": Tiles(64, 16)},
    }
    way = rng.choice(list(ways))
    return way, ways[way]


def decode(vaes: dict[str, Any], rng: random.Random) -> str:
    """One decode. Returns the way that it went."""
    kind, (way, options) = rng.choice(KINDS), choose_way(rng)
    vae = vaes[kind]
    frames = (rng.choice((1, 2, 3)),) if vae.clip_law and way not in ("by rows", "tiles") else ()
    batch = 1 if way == "by rows" else rng.choice((1, 1, 2))
    z = torch.rand(batch, vae.latent_channels, *frames, rng.randrange(2, 14), rng.randrange(2, 14))
    if way == "by rows":
        for _ in vae.decode_rows(z, **options):
            pass
    else:
        vae.decode(z, **options)
    return way


def main() -> int:
    options = argparse.ArgumentParser(prog="attack.soak", description=__doc__)
    options.add_argument("--decodes", type=int, default=1000)
    options.add_argument("--first", type=int, default=0)
    chosen = options.parse_args()
    if not CACHES.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, "-m", "attack.soak", *sys.argv[1:]], {**os.environ, **CACHES})
    torch.set_num_threads(1)
    vaes = {kind: small(kind, torch.float32) for kind in KINDS}
    ways, first = Counter[str](), Reading.take()
    for n in range(chosen.decodes):
        if n == chosen.decodes // 5:
            first = Reading.take()
        ways[decode(vaes, random.Random(chosen.first + n))] += 1
    last = Reading.take()
    print("| decodes | " + " | ".join(sorted(ways)) + " | memory grew by | descriptors | threads |")
    print("|---" * (len(ways) + 4) + "|")
    grown = last.memory - first.memory
    counts = " | ".join(str(ways[way]) for way in sorted(ways))
    pairs = f"{first.descriptors} -> {last.descriptors} | {first.threads} -> {last.threads}"
    print(f"| {chosen.decodes} | {counts} | {grown / 2**20:.1f} MiB | {pairs} |")
    return grown >= MOST or first[1:] != last[1:]


if __name__ == "__main__":
    sys.exit(main())
