"""Options that several commands share: which VAE to load, and how to run it."""

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..nodes import host
from ..nodes.images import WHITE
from ..vae_core import VAE, BadRequest, RunOptions, load
from ..vae_core.checkpoints import list_spaces
from ..vae_core.devices import DTYPES, parse_dtype
from ..vae_core.execution import DEVICE, DISK, SYSTEM, scratch
from ..vae_core.families import BORDERS
from ..vae_core.images import ALPHA, AUTOMATIC, COMPOSITE
from ..vae_core.latents import SEEDS
from .as_json import write_json

DIGITS = 30  # of a number, that are read: more than anybody can mean, and fewer than the 4,300 that Python refuses

LISTED = "?"  # in place of a latent space that is not named

KEEP = {"device": DEVICE, "system": SYSTEM, "disk": DISK}


def parse_positive(said: str) -> int:
    """A whole number above 0. For argparse, which prints the sentence."""
    return _parse_number(said, 1, 10**DIGITS, "a whole number above 0 is needed")


def parse_seed(said: str) -> int:
    """The number of a seed. For argparse."""
    return _parse_number(said, 0, SEEDS - 1, f"a seed is a whole number from 0 to {SEEDS - 1}")


def _parse_number(said: str, least: int, most: int, what: str) -> int:
    digits = said.removeprefix("+")
    number = read_digits(digits) if digits.isascii() and digits.isdigit() else -1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{what}, not '{said}'")
    return number


def read_digits(said: str) -> int:
    """The number of these digits; of too many of them, the smallest that has so many."""
    return int(said) if len(said) <= DIGITS else 10**DIGITS


def add_vae(command: argparse.ArgumentParser) -> None:
    what = (
        "the VAE's file or folder, a full checkpoint, or the files of encoder and decoder (default: the built-in VAE)"
    )
    command.add_argument("--vae", nargs="+", type=Path, default=[], metavar="FILE", help=what)
    command.add_argument("--dtype", default="auto", choices=["auto", *DTYPES], help="the dtype to compute in")
    command.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 ...")
    whose = "for tiny VAEs: whose latents they read and write, as sd1; without a SPACE: list those that apply"
    command.add_argument("--latent-space", nargs="?", const=LISTED, metavar="SPACE", help=whose)
    light = "for tiny video VAEs: read the file as one of LightX2V's (lighttaehy1_5) instead of one of TAEHV's"
    command.add_argument("--light", action="store_true", help=light)
    border = (
        "what convolutions read beyond the image: circular for seamless textures, 'circular x' for panoramas, which "
        "join left and right, 'circular y' for top and bottom (default: as saved, or zeros)"
    )
    command.add_argument("--border", choices=BORDERS, help=border)

    add_download(command)


def add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print everything as JSON")


def print_result(options: argparse.Namespace, text: str, facts: Mapping[str, Any]) -> None:
    """Print what a command has done: the text, or with --json the facts."""
    print(write_json(facts) if options.json else text)


def add_download(command: argparse.ArgumentParser) -> None:
    what = "a FILE may be a repository of Hugging Face, 'owner/name': fetch its VAE if its cache here has none"
    command.add_argument("--download", action="store_true", help=what)


ADVICE = "a smaller image, --dtype bf16, or a larger --budget"  # of a run that does not fit


def add_alpha(command: argparse._ActionsContainer) -> None:
    what = f"what is done to transparency (default: {AUTOMATIC}: kept if the VAE has a channel for it, else left out)"
    command.add_argument("--alpha", choices=ALPHA, default=AUTOMATIC, help=what)
    behind = "the colour behind what is transparent, for --alpha composite (default: white)"
    command.add_argument("--background", metavar="#RRGGBB", help=behind)


def choose_background(options: argparse.Namespace) -> str:
    """Raises BadRequest if one is named that would not be seen."""
    if options.background is not None and options.alpha != COMPOSITE:
        raise BadRequest("--background is for --alpha composite: name that too, or leave it away.")
    return WHITE if options.background is None else options.background


def add_memory(command: argparse.ArgumentParser) -> None:
    command.add_argument("--budget", metavar="MEMORY", help="memory to use: 2GiB, 500MB ... (default: what is free)")
    command.add_argument("--rows", type=int, metavar="N", help="run in bands of N rows (default: only if it is needed)")
    command.add_argument(
        "--keep", choices=list(KEEP), help="where bands are kept during the run (default: the fastest that fits)"
    )
    where = f"folder for bands that are kept on disk (default: {scratch.VARIABLE}, or the system's temporary folder)"
    command.add_argument("--scratch", type=Path, metavar="DIR", help=where)


@contextmanager
def memory_options(options: argparse.Namespace) -> Iterator[RunOptions]:
    """Options for `VAE.encode` and `VAE.decode`. While the block runs, scratch files go where --scratch says."""
    before = os.environ.get(scratch.VARIABLE)
    if options.scratch and not options.scratch.is_dir():
        raise BadRequest(f"there is no folder '{options.scratch}' for scratch files: --scratch names one.")
    if options.scratch:
        os.environ[scratch.VARIABLE] = str(options.scratch)
    try:
        scratch.folder()  # a folder that is not there is refused, also if nothing is going to be kept in it
        keep = KEEP[options.keep] if options.keep else None
        yield RunOptions(budget=options.budget, rows=options.rows, keep=keep, advice=ADVICE)
    finally:
        if options.scratch:
            os.environ.pop(scratch.VARIABLE)
            os.environ.update({scratch.VARIABLE: before} if before else {})


def load_vae(options: argparse.Namespace) -> VAE:
    device = host.device(options.device)
    dtype, space = parse_dtype(options.dtype), options.latent_space
    if space == LISTED:
        raise BadRequest(_list_spaces(options))
    more = {"latent_space": space, "light": options.light, "border": options.border, "download": options.download}
    return load(*options.vae, dtype=dtype, device=device, **more)


def _list_spaces(options: argparse.Namespace) -> str:
    """Which latent spaces its VAE can be told, as a sentence."""
    vae = load(*options.vae, light=options.light, download=options.download)
    fitting = ", ".join(list_spaces(vae.family, vae.config))
    choice = f"takes one of {fitting}" if fitting else "takes none, as only a tiny VAE needs to be told its own"
    return f"--latent-space of '{vae.name}' ({vae.title}) {choice}."


def demand_new(target: Path, sources: list[Path]) -> None:
    """Raises BadRequest if the target is one of the sources: a file that is read must not be overwritten."""
    for source in sources:
        both = os.path.exists(target) and os.path.exists(source)  # these do not raise where a folder may not be read
        if both and target.samefile(source):
            raise BadRequest(f"'{target}' is an input of this command: give the result another name.")
