"""exact-vae cache export: latents in the files of a trainer."""

import argparse
from pathlib import Path

from ..batch import Export, Store, export
from ..batch.formats import FORMATS, TRAINERS
from ..batch.recipe import MEAN, SAMPLE
from .cache_checks import add_out
from .options import add_json, parse_seed, print_result
from .progress import bar


def add(actions: argparse._SubParsersAction) -> None:
    command = actions.add_parser("export", help="write latents in the files of a trainer")
    add_out(command)
    command.add_argument("--format", required=True, choices=TRAINERS, help="whose files to write")
    where = "for sd-scripts the folder of the images, for musubi the cache_directory of its data set"
    command.add_argument("folder", type=Path, metavar="DIR", help=where)
    models = "; ".join(f"{trainer}: {', '.join(known)}" for trainer, known in FORMATS.items())
    command.add_argument("--model", metavar="MODEL", help=f"who is trained, if the latents do not tell ({models})")
    which = f"{MEAN} (default), or {SAMPLE}:SEED of a cache that has mean+logvar"
    command.add_argument("--posterior", type=parse_which, metavar="P", help=which)
    command.add_argument("--overwrite", action="store_true", help="replace files that are there")
    add_json(command)
    command.set_defaults(do=run)


def parse_which(said: str) -> int | None:
    """'mean' -> None, 'sample:7' -> 7. For argparse."""
    name, colon, seed = said.partition(":")
    if name not in (MEAN, SAMPLE) or bool(colon) != (name == SAMPLE):
        raise argparse.ArgumentTypeError(f"choose mean or sample:SEED, not '{said}'")
    return parse_seed(seed) if colon else None


def run(options: argparse.Namespace) -> None:
    what = Export(options.format, options.folder, options.model, options.posterior, options.overwrite)
    with bar("export") as drawn:
        found = export(Store(options.out), what, drawn)
    more = f"; {found.left_out} latents have no place there (other crops, mirrored)" if found.left_out else ""
    text = f"{options.folder}: {found.files} files of {options.format} for {found.model}{more}"
    facts = {"files": found.files, "left_out": found.left_out, "model": found.model, "format": options.format}
    print_result(options, text, facts)
