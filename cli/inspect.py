"""exact-vae inspect: what a file is, from its header alone."""

import argparse
import json
from pathlib import Path

from ..vae_core import Inspection, inspect
from ..vae_core.detection import to_json
from ..vae_core.errors import some
from ..vae_core.latents import SPACES


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("inspect", help="what a VAE file is, without reading its weights")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a file, or a folder of a diffusers model")
    command.add_argument("--json", action="store_true", help="print everything as JSON: one object, or a list of them")
    command.set_defaults(do=run)


def run(options: argparse.Namespace) -> None:
    found = [inspect(path) for path in options.files]
    if options.json:
        facts = [to_json(one) for one in found]
        print(json.dumps(facts if len(facts) > 1 else facts[0], indent=2))
    else:
        print("\n\n".join(text(one) for one in found))


def text(found: Inspection) -> str:
    rows = {
        "file": found.path,
        "family": found.title,
        "latent": f"{found.latent_channels} channels at 1/{found.spatial_ratio}",
        "speaks": _spoken(found),
        "pixels": f"{found.in_channels} channels in, {found.out_channels} out",
        "holds": " and ".join(found.parts),
        "layout": found.layout + (f", under '{found.prefix}'" if found.prefix else ""),
        "tensors": f"{found.tensors}, {found.bytes / 2**20:.1f} MiB"
        + (f" (and {found.others} of other networks)" if found.others else ""),
        "stored as": ", ".join(f"{count} {dtype}" for dtype, count in found.dtypes.items()),
        "missing": some(found.missing, 10),
        "unexpected": some(found.unexpected, 10),
        "misshapen": some(found.misshapen, 10),
    }
    return "\n".join(f"{name:<11}{value}" for name, value in rows.items() if value)


def _spoken(found: Inspection) -> str:
    """Whose latents they are, if one can know."""
    return f"the latents of {SPACES[found.latent_space].models} ({found.latent_space})" if found.latent_space else ""
