"""Which node classes a workflow is read, checked or run with."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from .. import headless
from ..nodes import NODE_CLASS_MAPPINGS


def add_nodes(command: argparse.ArgumentParser) -> None:
    """Options for `gather_nodes`."""
    what = "definitions of more nodes: what GET /object_info of a ComfyUI answered"
    command.add_argument("--object-info", type=Path, action="append", default=[], metavar="FILE", help=what)
    what = "ask a ComfyUI that runs, as http://127.0.0.1:8188, for its definitions of nodes"
    command.add_argument("--comfyui", metavar="URL", help=what)
    what = "a pack of nodes that needs no ComfyUI: a folder or a .py file, whose code runs; may be given several times"
    command.add_argument("--nodes", type=Path, action="append", default=[], metavar="PATH", help=what)


def add_folders(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--input", type=Path, default=Path("input"), metavar="DIR", help="the folder that images are read from"
    )


def list_declared(options: argparse.Namespace) -> dict[str, type]:
    """The classes whose declarations the user gives."""
    found: dict[str, type] = {}
    for file in options.object_info:
        found |= headless.load_definitions(file)
    return found | (headless.fetch_definitions(options.comfyui) if options.comfyui else {})


def list_runnable(options: argparse.Namespace, output: Path, temp: Path) -> dict[str, type]:
    """The classes whose code is here: this pack's, core's that we have, and those of --nodes."""
    own = {**NODE_CLASS_MAPPINGS, **headless.core_nodes(options.input, output, temp, NODE_CLASS_MAPPINGS)}
    for path in options.nodes:
        own |= headless.load_pack(path)
    return own


def list_known(options: argparse.Namespace) -> Mapping[str, type]:
    """All classes, to read and check with: what a server declares counts before what is here."""
    output = Path("output")
    return {**list_runnable(options, output, output / "temp"), **list_declared(options)}
