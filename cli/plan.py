"""exact-vae plan: says how a VAE would encode or decode an image, and in how much memory, without running it."""

import argparse
import re
from dataclasses import asdict
from pathlib import Path

from ..nodes import host
from ..vae_core import Half, RunOptions, inspect
from ..vae_core.checkpoints import Detection, built_in, demand_whole, own_dtype
from ..vae_core.devices import DTYPES, choose_dtype, name_dtype, parse_dtype
from ..vae_core.execution import (
    Plan,
    choose_plan,
    count_latent_frames,
    format_bytes,
    list_plans,
    make_request,
    read_budget,
)
from ..vae_core.families import demand_part, demand_size_of, family_named
from .as_json import write_json
from .options import ADVICE, parse_positive, read_digits

SIZE = re.compile(r"([0-9]+)x([0-9]+)")


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("plan", help="say how an image would be decoded, and in how much memory")
    command.add_argument("file", type=Path, metavar="FILE", nargs="?", help="a VAE (default: the built-in one)")
    command.add_argument("size", type=parse_size, metavar="WIDTHxHEIGHT", help="size of the image in pixels")
    command.add_argument(
        "--budget", metavar="MEMORY", help="memory to use: 6GiB, 500MB ... (default: what is free now)"
    )
    command.add_argument("--encode", action="store_true", help="plan encoding instead of decoding")
    command.add_argument(
        "--stream",
        action="store_true",
        help="read or write the image row by row (.tif), so that it is never whole in memory",
    )
    command.add_argument("--batch", type=parse_positive, default=1, metavar="N", help="number of images, or of clips")
    command.add_argument("--frames", type=parse_positive, metavar="N", help="plan clips of N frames instead of images")
    command.add_argument("--dtype", default="auto", choices=["auto", *DTYPES], help="the dtype to compute in")
    command.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 ...")
    command.add_argument("--json", action="store_true", help="print everything as JSON")
    command.set_defaults(do=run)


def parse_size(said: str) -> tuple[int, int]:
    """'8192x4096' -> (4096, 8192): height, width"""
    found = SIZE.fullmatch(said)
    width, height = map(read_digits, found.groups()) if found else (0, 0)
    if not min(width, height):
        raise argparse.ArgumentTypeError(f"a size is WIDTHxHEIGHT in pixels, as 1024x768, not '{said}'")
    return height, width


def run(options: argparse.Namespace) -> None:
    found = inspect(options.file or built_in.VAE_FILE)
    half = Half.ENCODER if options.encode else Half.DECODER
    height, width = options.size
    demand_whole(found, found.path)
    demand_part(found.config, found.path.name, half)
    shape = latent_or_pixel_shape(options, found)
    demand_size_of(found.config, found.path.name, half, shape)
    device = host.device(options.device)
    own = own_dtype(found.dtypes, found.path.name)
    asked, fits = parse_dtype(options.dtype), family_named(found.family).rounding.fits_fp16
    dtype = choose_dtype(device, own, asked, fits_fp16=fits)
    streamed = options.stream and not options.frames
    request = make_request(found.family, found.config, half, shape, dtype, streamed=streamed)
    frames = f"x{options.frames}" if options.frames else ""
    what = f"{half.doing} {options.batch} x {width}x{height}{frames}"
    most = read_budget(device, options.budget)
    chosen = choose_plan(
        request, device, RunOptions(budget=most, advice=ADVICE), what=f"{what} with '{found.path.name}'"
    )
    ways = list_plans(request, device)
    if options.json:
        facts = {"budget": most, "chosen": ways.index(chosen), "plans": [asdict(way) for way in ways]}
        print(write_json(facts))
    else:
        print(format_table(ways, chosen, f"{what} in {name_dtype(dtype)} under {format_bytes(most)}"))


def latent_or_pixel_shape(options: argparse.Namespace, found: Detection) -> tuple[int, ...]:
    """The shape of the pixels to encode, or of the latent to decode. A plan does not depend on its channels, here 1."""
    height, width = options.size
    scale, frames = 1, options.frames
    if not options.encode:
        scale = found.decoded_ratio
        frames = count_latent_frames(found.family, found.config, frames) if frames else None
    return options.batch, 1, *([frames] if frames else []), -(-height // scale), -(-width // scale)


def format_table(ways: list[Plan], chosen: Plan, title: str) -> str:
    """One line for each plan, with an arrow before the one that would be used."""
    head = ("rows", "batch", "frames", "kept", "peak", "elsewhere", "work")
    lines = [title, f"{_format_line('  ', head)}  (1: as little as can be)"]
    return "\n".join(
        lines + [_format_line("->" if way == chosen else "  ", _format_cells(way, ways[0].work)) for way in ways]
    )


def _format_cells(way: Plan, least: float) -> tuple[str, ...]:
    how = (str(way.rows or "whole"), str(way.images), str(way.frames or "all"), way.keep)
    held = format_bytes(way.held) if way.held else ""
    return (*how, format_bytes(way.peak), held, f"{way.work / least:.2f}" if least else "")


def _format_line(arrow: str, cells: tuple[str, ...]) -> str:
    rows, batch, frames, kept, peak, elsewhere, work = cells
    return f"{arrow}{rows:>6} {batch:>6} {frames:>6}  {kept:<14}{peak:>10}{elsewhere:>11}{work:>6}"
