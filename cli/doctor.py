"""exact-vae doctor: says whether this device computes a VAE correctly, and in which dtype it is fastest."""

import argparse
from pathlib import Path

import torch

from ..headless import image_files
from ..nodes import host
from ..vae_core import load, verdicts
from ..vae_core.devices import DTYPES
from ..vae_core.doctor import NARROWEST, WIDTHS, Examination, draw_errors, examine, format_report, to_json
from ..vae_core.files import make_folder, write_atomically
from .as_json import write_json
from .options import demand_new, parse_positive
from .progress import bar

WIDEST = 16_384  # pixels of a chart; it is square, and computed in fp64 too
EXAMINED = ("fp32", "bf16", "fp16")
FILES = ("doctor.md", "doctor.json", "doctor.png")  # in a folder


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("doctor", help="say whether this device computes a VAE correctly, in each dtype")
    command.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="a VAE, as --vae of encode (default: the built-in one)"
    )
    command.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 ...")
    command.add_argument("--json", action="store_true", help="print everything as JSON")
    command.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="an image to draw the errors in, or a folder for image, report and JSON",
    )
    command.add_argument(
        "--widths", nargs="+", type=parse_width, default=WIDTHS, metavar="N",
        help=f"of the chart, in pixels (default: {' '.join(map(str, WIDTHS))})",
    )  # fmt: skip
    command.add_argument(
        "--dtypes", nargs="+", choices=EXAMINED, metavar="DTYPE",
        help=f"of {', '.join(EXAMINED)} (default: all, on a CPU those that it computes well)",
    )  # fmt: skip
    command.add_argument("--forget", action="store_true", help="do not keep the verdict, and remove an earlier one")
    command.set_defaults(do=run)


def parse_width(said: str) -> int:
    """A width of the chart. For argparse, which prints the sentence."""
    number = parse_positive(said)
    if number < NARROWEST:
        raise argparse.ArgumentTypeError(f"a chart is {NARROWEST} pixels wide or more, not '{said}'")
    if number > WIDEST:
        raise argparse.ArgumentTypeError(f"a chart is {WIDEST} pixels wide at most, not '{said}'")
    return number


def run(options: argparse.Namespace) -> None:
    targets = list_targets(options.out)
    for target in targets:
        demand_new(target, options.files)
    vae = load(*options.files, dtype=torch.float32)
    dtypes = [DTYPES[name] for name in options.dtypes] if options.dtypes else None
    with bar("doctor") as progress:
        found = examine(vae, host.device(options.device), widths=options.widths, dtypes=dtypes, progress=progress)
    note = verdicts.forget(found.verdict) if options.forget else verdicts.keep_and_tell(found.verdict)
    print(write_json(to_json(found)) if options.json else f"{format_report(found)}\n\n{note}")
    for target in targets:
        write(target, found)
    if not options.json:
        print(*targets, sep="\n")


def list_targets(out: Path | None) -> list[Path]:
    """The files to write: an image, or those of a folder. Raises BadRequest before anything is computed."""
    if out is None:
        return []
    if out.suffix and not out.is_dir():
        image_files.format_of(out)
        return [out]
    return [make_folder(out) / name for name in FILES]


def write(path: Path, found: Examination) -> None:
    if path.suffix not in (".md", ".json"):
        image_files.write(path, draw_errors(found).movedim(1, -1))
        return
    text = format_report(found) if path.suffix == ".md" else write_json(to_json(found))
    with write_atomically(path) as part:
        part.write_text(text + "\n", encoding="utf-8")
