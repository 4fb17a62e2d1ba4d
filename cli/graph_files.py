"""exact-vae check and exact-vae convert: what is wrong with workflows, and what the editor would send of them."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import headless
from ..nodes import host
from ..vae_core import BadRequest
from ..vae_core.errors import some
from ..vae_core.files import write_atomically
from . import several
from .as_json import write_json
from .graph_nodes import add_folders, add_nodes, list_known
from .options import add_json, print_result

WHICH = "a workflow as ComfyUI saves or exports it, or an image, video or latent that carries one"


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("check", help="say what is wrong with ComfyUI workflows, without running them")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help=f"{WHICH}; or a pattern as '*.json'")
    add_nodes(command)
    add_folders(command)
    models = "the folder with vae/, vae_approx/ and checkpoints/ in it"
    command.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help=models)
    add_json(command)
    command.set_defaults(do=check)
    command = commands.add_parser("convert", help="turn a workflow of ComfyUI's editor into the API format")
    command.add_argument("file", type=Path, metavar="FILE", help=WHICH)
    command.add_argument("-o", "--out", type=Path, metavar="FILE", help="write it here instead of printing it")
    add_nodes(command)
    command.set_defaults(do=convert, input=Path("input"))


def check(options: argparse.Namespace) -> None:
    """One line for every problem. Raises GraphError at the end if there is any."""
    with host.surroundings(options.models, _be_silent, Path("output"), options.input):
        nodes = list_known(options)
        found = {file: _check_file(file, nodes) for file in several.match_each(options.files)}
    lines = [f"{file}: {line}" for file, told in found.items() for line in told["sentences"]]
    facts = {"files": [{"file": str(file), **told} for file, told in found.items()]}
    print_result(options, "\n".join(lines), facts)
    wrong = [str(file) for file, told in found.items() if not told["ok"]]
    if wrong:
        raise headless.GraphError(f"{len(wrong)} of {len(found)} workflows would not run as they are: {wrong[0]}")


def _check_file(file: Path, nodes: Mapping[str, type]) -> dict[str, Any]:
    """The answer of the host, and a sentence for each problem; if there is none, what would run."""
    try:
        report = headless.check(headless.load(file, nodes), nodes)
    except headless.GraphError as error:
        body = error.body or {"error": {"type": "invalid_prompt", "message": str(error)}, "node_errors": {}}
        return {"ok": False, **body, "sentences": [str(error)], "titles": {}}
    titles = {node.id: node.title for node in report.graph.nodes.values() if node.title}
    return {"ok": report.ok, **report.body, "sentences": report.sentences() or [report.sentence()], "titles": titles}


def convert(options: argparse.Namespace) -> None:
    """Print the API format, or write it."""
    nodes = list_known(options)
    graph = headless.load(options.file, nodes)
    _demand_classes(graph, nodes)
    text = write_json(graph.to_json())
    if options.out is None:
        sys.stdout.write(f"{text}\n")
        return
    if options.out.exists() and options.out.samefile(options.file):
        raise BadRequest(f"'{options.out}' is an input of this command: give the result another name.")
    with write_atomically(options.out) as part:
        part.write_text(f"{text}\n", encoding="utf-8")


def _demand_classes(graph: headless.Graph, nodes: Mapping[str, type]) -> None:
    """Raises GraphError for nodes of the editor's format whose values cannot be named here."""
    if not graph.from_editor:
        return
    unknown = sorted({node.class_type for node in graph.nodes.values()} - nodes.keys())
    if unknown:
        raise headless.GraphError(
            f"this workflow has classes that are not known here, so nobody can name their values: {some(unknown, 6)}; "
            "give --object-info FILE, or --comfyui URL of a ComfyUI that has them"
        )


def _be_silent(done: int, total: int) -> None:
    """No progress is shown."""
