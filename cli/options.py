"""What several commands ask for: a VAE, and how it is to run."""

import argparse
import os
from pathlib import Path

from ..nodes import host
from ..vae_core import VAE, BadRequest, load
from ..vae_core.latents import SPACES
from ..vae_core.precision import DTYPES, named


def positive(said: str) -> int:
    """A whole number above 0. For argparse, which prints the sentence."""
    if not said.isdecimal() or not int(said):
        raise argparse.ArgumentTypeError(f"a whole number above 0 is needed, not '{said}'")
    return int(said)


def add_vae(command: argparse.ArgumentParser) -> None:
    what = (
        "the VAE's file or folder, a full checkpoint, or the files of encoder and decoder (default: the built-in VAE)"
    )
    command.add_argument("--vae", nargs="+", type=Path, default=[], metavar="FILE", help=what)
    command.add_argument("--dtype", default="auto", choices=["auto", *DTYPES], help="what to compute in")
    command.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 ...")
    whose = f"for tiny VAEs: whose raw latents they should speak: {', '.join(SPACES)}"
    command.add_argument("--latent-space", choices=list(SPACES), metavar="SPACE", help=whose)


def load_vae(options: argparse.Namespace) -> VAE:
    device = host.device(options.device)
    return load(*options.vae, dtype=named(options.dtype), device=device, latent_space=options.latent_space)


def demand_new(target: Path, sources: list[Path]) -> None:
    """What is read must not be written over."""
    for source in sources:
        both = os.path.exists(target) and os.path.exists(source)  # which do not raise where looking is not allowed
        if both and target.samefile(source):
            raise BadRequest(f"'{target}' is what is read here: give the result another name.")
