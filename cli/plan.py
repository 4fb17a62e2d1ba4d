"""exact-vae plan: how a file would encode or decode a picture, and in how much memory, without running it."""

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path

import torch

from ..nodes import host
from ..vae_core import built_in, inspect, planning, precision
from ..vae_core.execution import budget as memory
from ..vae_core.execution.plan import Plan, candidates, choose
from ..vae_core.loading import FLOATS

SIZE = re.compile(r"(\d+)x(\d+)")


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("plan", help="how a picture would be decoded, and in how much memory")
    command.add_argument("file", type=Path, metavar="FILE", nargs="?", help="a VAE (default: the built-in one)")
    command.add_argument("size", type=size, metavar="WIDTHxHEIGHT", help="of the picture, in pixels")
    command.add_argument("--budget", metavar="MEMORY", help="6GiB, 500MB ... (default: what is free now)")
    command.add_argument("--encode", action="store_true", help="plan encoding instead of decoding")
    command.add_argument(
        "--stream", action="store_true", help="to or from a .tif, row by row: the picture is not in memory"
    )
    command.add_argument("--batch", type=int, default=1, metavar="N", help="so many pictures")
    command.add_argument("--dtype", default="auto", choices=["auto", *precision.DTYPES], help="what to compute in")
    command.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 ...")
    command.add_argument("--json", action="store_true", help="print everything as JSON")
    command.set_defaults(do=run)


def size(text: str) -> tuple[int, int]:
    """'8192x4096' -> (4096, 8192): height, width"""
    found = SIZE.fullmatch(text)
    if not found or "0" in found.groups():
        raise argparse.ArgumentTypeError(f"a size is WIDTHxHEIGHT in pixels, as 1024x768, not '{text}'")
    return int(found[2]), int(found[1])


def run(options: argparse.Namespace) -> None:
    found = inspect(options.file or built_in.VAE_FILE)
    device = host.device(options.device)
    own = FLOATS.get(max(found.dtypes, key=lambda stored: found.dtypes[stored]), torch.float32)
    dtype = precision.choose(device, own, precision.named(options.dtype))
    part, (height, width), ratio = "encode" if options.encode else "decode", options.size, found.spatial_ratio
    shape = (height, width) if options.encode else (-(-height // ratio), -(-width // ratio))
    wanted = planning.request(found.family, found.config, part, (options.batch, 1, *shape), dtype, options.stream)
    most = memory.parsed(options.budget) if options.budget else memory.free(device)
    places = planning.elsewhere(device)
    chosen = choose(wanted, most, places, what=f"to {part} {width}x{height} with '{found.path.name}'")
    ways = list(candidates(wanted, places))
    if options.json:
        facts = {"budget": most, "chosen": ways.index(chosen), "plans": [asdict(way) for way in ways]}
        print(json.dumps(facts, indent=2))
    else:
        print(table(ways, chosen, f"{part} {width}x{height} in {named(dtype)} under {memory.text(most)}"))


def table(ways: list[Plan], chosen: Plan, title: str) -> str:
    """One line for each way; an arrow before the one that would be taken."""
    lines = [
        title,
        f"  {'rows':>6} {'batch':>6}  {'kept':<14}{'peak':>10}{'elsewhere':>11}{'work':>6}  (1: as little as can be)",
    ]
    for way in ways:
        arrow, rows = ("->" if way == chosen else "  "), (str(way.rows) if way.rows else "whole")
        elsewhere = memory.text(way.held) if way.held else ""
        work = f"{way.work / ways[0].work:.2f}" if ways[0].work else ""
        peak = memory.text(way.peak)
        lines.append(f"{arrow}{rows:>6} {way.pictures:>6}  {way.keep:<14}{peak:>10}{elsewhere:>11}{work:>6}")
    return "\n".join(lines)


def named(dtype: torch.dtype) -> str:
    return next(name for name, one in precision.DTYPES.items() if one is dtype)
