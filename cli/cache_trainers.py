"""exact-vae cache verify, of caches that trainers made."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from ..batch import Check, TrainerFindings, check
from ..vae_core import BadRequest
from ..vae_core.files import make_folder
from .as_json import write_json
from .cache_telling import conclude, list_told, write_sheet
from .options import load_vae
from .progress import bar


def add_images(command: argparse.ArgumentParser) -> None:
    where = "of a trainer's cache: where its images are, if they do not lie beside the latents"
    command.add_argument("--images", type=Path, metavar="DIR", help=where)


def run(options: argparse.Namespace) -> None:
    """Raises BadRequest if anything is wrong, after all of it was printed."""
    vae = load_vae(options) if options.vae else None
    if options.images and not options.images.is_dir():
        raise BadRequest(f"there is no folder '{options.images}' of images.")
    if options.decode:
        make_folder(options.decode)
    with bar("verify") as drawn:
        found = check(Check(options.out, options.images, options.space, vae, options.samples), drawn)
    if options.decode and found.samples:
        write_sheet(options.decode, found.samples)
    print(write_json(found.to_dict(), None) if options.json else "\n".join(describe(found)))
    if found.problems:
        raise BadRequest(conclude(options.out, len(found.problems)))


def describe(found: TrainerFindings) -> Iterator[str]:
    yield from list_told(found.problems, found.samples)
    for group, count in found.latents.items():
        whose = group.space or "a space that it does not tell (--space names it)"
        spread = f"{found.statistics[group].spread:.3f}"
        yield f"{count} latents of {group.trainer}, {group.convention}, of {whose}: spread {spread}, normalised"
    missing = f"; of {found.unknown} latents the images are not known (--images names their folder)"
    yield f"{found.images} images{missing if found.unknown else ''}"
