"""PYTHONPATH=tests python -m attack.memory [--steps 24]

Runs commands with ever more address space beyond what importing took. Each ends in a result or in a sentence, never in
a traceback, and leaves no part behind. Linux only: elsewhere nothing limits address space.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from attack.kills import COMMANDS, prepare

LIMITED = """
import resource, sys
from exact_vae import cli
cli.parser()
base = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (base + int(sys.argv[1]),) * 2)
sys.exit(cli.main(sys.argv[2:]))
"""
STEP = 8 * 2**20  # bytes


def main() -> int:
    options = argparse.ArgumentParser(prog="attack.memory", description=__doc__)
    options.add_argument("--steps", type=int, default=24)
    counts: Counter = Counter()
    for step in range(options.parse_args().steps):
        for name in ("decode", "encode", "run"):
            counts[name, attempt(name, step * STEP)] += 1
    print("| command | done | refused | bad |\n|---|---|---|---|")
    for name in ("decode", "encode", "run"):
        print(f"| {name} | " + " | ".join(str(counts[name, kind]) for kind in ("done", "refused", "bad")) + " |")
    return any(kind == "bad" for _, kind in counts)


def attempt(name: str, extra: int) -> str:
    arguments = COMMANDS[name][0][3:]  # without what starts the command line
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        command = [sys.executable, "-c", LIMITED, str(extra), *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode == 0:
            return "done"
        left = [p.name for p in folder.rglob("*.part")]
        if (
            done.returncode == 1
            and done.stderr.startswith("exact-vae: ")
            and "Traceback" not in done.stderr
            and not left
        ):
            return "refused"
        print(f"{name}, {extra / 2**20:.0f} MiB: {done.returncode} {done.stderr[-600:]} {left}", file=sys.stderr)
        return "bad"


if __name__ == "__main__":
    raise SystemExit(main())
