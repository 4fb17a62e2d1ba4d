"""exact-vae run: runs a ComfyUI workflow without ComfyUI."""

import argparse
from pathlib import Path

from .. import headless
from ..nodes import NODE_CLASS_MAPPINGS, host
from ..vae_core import BadRequest
from .options import add_json, print_result
from .progress import bar

MODELS = Path("models")
HOW = "NODE.INPUT=VALUE"


def parse_setting(text: str) -> tuple[str, str]:
    where, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"write it as {HOW}, not '{text}'")
    return where, value


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("run", help="run a ComfyUI workflow without ComfyUI")
    command.add_argument("graph", type=Path, metavar="WORKFLOW.json", help="a workflow as ComfyUI saves or exports it")
    more = "set an input of a node; may be given several times"
    command.add_argument(
        "--set", dest="settings", action="append", default=[], type=parse_setting, metavar=HOW, help=more
    )
    command.add_argument(
        "--input", type=Path, default=Path("input"), metavar="DIR", help="the folder that images are read from"
    )
    command.add_argument(
        "--output", type=Path, default=Path("output"), metavar="DIR", help="the folder that results are written to"
    )
    command.add_argument("--models", type=Path, default=MODELS, metavar="DIR",
                         help="the folder with vae/, vae_approx/ and checkpoints/ in it")  # fmt: skip
    add_json(command)
    command.set_defaults(do=run)


def run(options: argparse.Namespace) -> None:
    if not options.models.is_dir() and options.models != MODELS:
        raise BadRequest(f"there is no folder of models '{options.models}'.")
    temp = options.output / "temp"
    folders = {"output": options.output, "temp": temp}
    nodes = {**NODE_CLASS_MAPPINGS, **headless.core_nodes(options.input, options.output, temp, NODE_CLASS_MAPPINGS)}
    with bar("run") as drawn, host.surroundings(options.models, drawn, options.output, options.input):

        def show_node(node: headless.Node) -> None:
            drawn.name(node.title or node.class_type)

        graph = headless.load(options.graph, nodes)
        for where, value in options.settings:
            graph = graph.set(where, value)
        results = headless.run(graph, nodes, on_start=show_node)
    files: list[str] = []
    for ui in results.outputs.values():
        for file in (*ui.get("images", ()), *ui.get("latents", ()), *ui.get("files", ())):
            files.append(str(folders[file["type"]] / file["subfolder"] / file["filename"]))
    if files or options.json:
        print_result(options, "\n".join(files), {"files": files})
    if not results.report.ok:
        raise headless.GraphError(f"parts of the workflow were not run: {results.report.sentence()}")
