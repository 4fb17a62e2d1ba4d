"""exact-vae inspect: says which VAE a file holds, from its header alone."""

import argparse
import json
from pathlib import Path

from ..vae_core import inspect
from ..vae_core.checkpoints import to_json
from ..vae_core.reports import describe_file


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("inspect", help="say which VAE a file holds, without reading its weights")
    command.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a file, or the folder of a diffusers model"
    )
    command.add_argument("--json", action="store_true", help="print everything as JSON: one object, or a list of them")
    command.set_defaults(do=run)


def run(options: argparse.Namespace) -> None:
    found = [inspect(path) for path in options.files]
    if options.json:
        facts = [to_json(one) for one in found]
        print(json.dumps(facts if len(facts) > 1 else facts[0], indent=2))
    else:
        print("\n\n".join(describe_file(one) for one in found))
