"""exact-vae run: a workflow of ComfyUI's (API format), without ComfyUI."""

import argparse
from pathlib import Path

from .. import headless
from ..nodes import NODE_CLASS_MAPPINGS, host
from ..vae_core import BadRequest
from .progress import bar


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("run", help="a workflow in API format, without ComfyUI")
    command.add_argument("graph", type=Path, metavar="GRAPH.json", help="exported from ComfyUI with Export (API)")
    command.add_argument("--set", dest="settings", action="append", default=[], metavar="NODE.INPUT=VALUE",
                         help="replace an input of a node, e.g. 3.seed=7; may be given several times")  # fmt: skip
    command.add_argument("--input", type=Path, default=Path("input"), metavar="DIR", help="where pictures are read")
    command.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="where results are written")
    command.add_argument("--models", type=Path, default=Path("models"), metavar="DIR",
                         help="where vae/, vae_approx/ and checkpoints/ are")  # fmt: skip
    command.set_defaults(do=run)


def run(options: argparse.Namespace) -> None:
    graph = headless.load(options.graph)
    for setting in options.settings:
        where, equals, value = setting.partition("=")
        if not equals:
            raise BadRequest(f"--set takes NODE.INPUT=VALUE, not '{setting}'.")
        graph = graph.set(where, value)
    temp = options.output / "temp"
    folders = {"output": options.output, "temp": temp}
    nodes = {**NODE_CLASS_MAPPINGS, **headless.core_nodes(options.input, options.output, temp, NODE_CLASS_MAPPINGS)}
    with bar("run") as drawn, host.surroundings(options.models, drawn):

        def started(node: headless.Node) -> None:
            drawn.name(node.title or node.class_type)

        results = headless.run(graph, nodes, on_start=started)
    for ui in results.outputs.values():
        for file in (*ui.get("images", ()), *ui.get("latents", ())):
            print(folders[file["type"]] / file["subfolder"] / file["filename"])
    if not results.report.ok:
        raise headless.GraphError(f"not all of it ran: {results.report.sentence()}")
