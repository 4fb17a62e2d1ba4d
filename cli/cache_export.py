"""exact-vae cache export: latents in the files of a trainer."""

import argparse
from pathlib import Path
from typing import Any

from ..batch import Archives, Export, Store, export, export_archives
from ..batch.formats import FORMATS, NOT_WRITTEN, TRAINERS
from ..batch.recipe import MEAN, SAMPLE
from ..batch.webdataset import TENSORS
from ..vae_core import BadRequest
from ..vae_core.latents import CONVENTIONS, RAW
from .cache_checks import add_out, add_space
from .options import add_json, parse_seed, print_result
from .progress import bar

WEBDATASET = "webdataset"
ALSO = {"kohya-npz": TRAINERS[0]}  # other names of what is written


def add(actions: argparse._SubParsersAction) -> None:
    command = actions.add_parser("export", help="write latents in the files of a trainer, or as archives of WebDataset")
    add_out(command)
    known = [*TRAINERS, *ALSO, WEBDATASET]
    whose = f"whose files to write: {', '.join(known)}"
    command.add_argument("--format", required=True, choices=[*known, *NOT_WRITTEN], metavar="FORMAT", help=whose)
    where = "for sd-scripts the folder of the images, for musubi the cache_directory of its data set"
    command.add_argument("folder", type=Path, metavar="DIR", help=where)
    models = "; ".join(f"{trainer}: {', '.join(known)}" for trainer, known in FORMATS.items())
    command.add_argument("--model", metavar="MODEL", help=f"who is trained, if the latents do not tell ({models})")
    which = f"{MEAN} (default), or {SAMPLE}:SEED of a cache that has mean+logvar"
    command.add_argument("--posterior", type=parse_which, metavar="P", help=which)
    command.add_argument("--tensors", choices=TENSORS, default=TENSORS[0], help="webdataset: how numbers are kept")
    what = "webdataset: what the numbers mean"
    command.add_argument("--convention", choices=CONVENTIONS, default=RAW, help=what)
    add_space(command)
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
    if options.format in NOT_WRITTEN:
        raise BadRequest(f"{NOT_WRITTEN[options.format]}.")
    text, facts = _write_archives(options) if options.format == WEBDATASET else _write_files(options)
    print_result(options, text, {**facts, "format": options.format})


def _write_archives(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    if options.model or options.posterior is not None:
        raise BadRequest("--model and --posterior are for the files of trainers: webdataset has the latents as stored.")
    what = Archives(options.folder, options.tensors, options.convention, options.space, options.overwrite)
    with bar("export") as drawn:
        found = export_archives(Store(options.out), what, drawn)
    text = f"{options.folder}: {found.latents} latents in {found.archives} archives"
    return text, {"files": found.archives, "latents": found.latents}


def _write_files(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    if options.convention != RAW or options.space or options.tensors != TENSORS[0]:
        raise BadRequest("--convention, --space and --tensors are for webdataset: a trainer's files have its own.")
    trainer: str = ALSO.get(options.format) or options.format
    what = Export(trainer, options.folder, options.model, options.posterior, options.overwrite)
    with bar("export") as drawn:
        found = export(Store(options.out), what, drawn)
    more = f"; {found.left_out} latents have no place there (other crops, mirrored)" if found.left_out else ""
    text = f"{options.folder}: {found.files} files of {options.format} for {found.model}{more}"
    return text, {"files": found.files, "left_out": found.left_out, "model": found.model}
