"""exact-vae inspect: says which VAE a file holds, from its header alone; or what all files of a folder hold."""

import argparse
from pathlib import Path

from ..vae_core import BadRequest, inspect
from ..vae_core.checkpoints import to_json
from ..vae_core.errors import some
from ..vae_core.reports import describe_file, format_survey, list_weights, survey_files, survey_to_json
from .as_json import write_json
from .options import add_download


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("inspect", help="say which VAE a file holds, without reading its weights")
    what = "a file, the folder of a diffusers model, a folder of files at any depth, or a pattern as '*.safetensors'"
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help=what)
    command.add_argument("--json", action="store_true", help="print everything as JSON: one object, or a list of them")
    problems = "only files that would not load as a VAE, and why"
    command.add_argument("--problems", action="store_true", help=problems)
    add_download(command)
    command.set_defaults(do=run)


def run(options: argparse.Namespace) -> None:
    """A single file is described in full, or refused. Of several there is a table, and those not there are refused."""
    listed = [(given, list_weights(given)) for given in options.files]
    paths = [path for _, found in listed for path in found]
    if not paths:
        raise BadRequest(f"there is no file of weights in {', '.join(repr(str(path)) for path in options.files)}.")
    if paths == options.files and len(paths) == 1 and not options.problems:
        found = inspect(paths[0], download=options.download)
        print(write_json(to_json(found)) if options.json else describe_file(found))
        return
    rows = survey_files(paths)
    shown = [row for row in rows if row.problem] if options.problems else rows
    print(write_json(survey_to_json(shown)) if options.json else format_survey(shown, rows))
    empty = [str(given) for given, found in listed if not found]
    if empty:
        raise BadRequest(f"there is no file of weights in {some(repr(one) for one in empty)}.")
    missing = [str(row.path) for row in rows if row.problem and row.path in options.files and not row.path.exists()]
    if missing:
        raise BadRequest(f"there is no file {some(repr(one) for one in missing)}.")
