"""exact-vae run: runs a ComfyUI workflow without ComfyUI."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import headless
from ..nodes import host
from ..vae_core import BadRequest
from .events import Events, read_batch
from .graph_files import WHICH
from .graph_nodes import add_folders, add_nodes, list_declared, list_runnable
from .options import add_json, parse_positive, print_result
from .progress import Bar, bar

MODELS = Path("models")
HOW = "NODE.INPUT=VALUE"


def parse_setting(text: str) -> tuple[str, str]:
    where, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"write it as {HOW}, not '{text}'")
    return where, value


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("run", help="run a ComfyUI workflow without ComfyUI")
    command.add_argument("graph", type=Path, metavar="WORKFLOW", help=WHICH)
    more = "set an input of a node; may be given several times"
    command.add_argument(
        "--set", dest="settings", action="append", default=[], type=parse_setting, metavar=HOW, help=more
    )
    more = 'a run for each line of this file, {"NODE.INPUT": value, ...}'
    command.add_argument("--batch", type=Path, metavar="FILE.jsonl", help=more)
    more = "run each N times; seeds change between runs as the editor would change them"
    command.add_argument("--repeat", type=parse_positive, default=1, metavar="N", help=more)
    more = "do not write the workflow into the files that are saved"
    command.add_argument("--no-metadata", action="store_true", help=more)
    add_nodes(command)
    add_folders(command)
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
    nodes = {**list_declared(options), **list_runnable(options, options.output, options.output / "temp")}
    events = Events(options.json and not options.quiet)
    drawing: AbstractContextManager[Bar | Events] = nullcontext(events) if options.json else bar("run")
    with drawing as drawn, host.surroundings(options.models, drawn, options.output, options.input):
        graphs = list(_list_runs(headless.load(options.graph, nodes), options))
        runs = _Runs(nodes, options.output, drawn, events, headless.Cache() if len(graphs) > 1 else None)
        for events.run, graph in enumerate(graphs, 1):
            runs.run(graph)
    if runs.files or options.json:
        files = list(dict.fromkeys(runs.files))  # a run that is the same as the one before shows the same files
        print_result(options, "\n".join(files), {"files": files})
    if runs.failures:
        others = len(runs.failures) - 1
        more = f" (and {others} more failure{'s' if others > 1 else ''})" if others else ""
        raise headless.GraphError(f"{runs.failures[0]}{more}")


def _list_runs(graph: headless.Graph, options: argparse.Namespace) -> Iterator[headless.Graph]:
    """The graph of every run. Raises GraphError for a setting of an input that is not there."""
    graph = replace(graph, embedded=not options.no_metadata)
    for where, value in options.settings:
        graph = graph.set(where, value)
    batch: list[dict[str, Any]] = read_batch(options.batch) if options.batch else [{}]
    for settings in batch:
        changed = graph
        for where, value in settings.items():
            changed = changed.put(where, value)
        for _ in range(options.repeat):
            yield headless.fill_prefixes(changed)
            graph, changed = headless.advance(graph), headless.advance(changed)


@dataclass
class _Runs:
    """Runs graphs one after another. One that fails, or a part of one, stops nothing else."""

    nodes: Mapping[str, type]
    output: Path
    drawn: Bar | Events
    events: Events
    cache: headless.Cache | None
    files: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def run(self, graph: headless.Graph) -> None:
        try:
            results = headless.run(graph, self.nodes, on_start=self._show_node, progress=self.events.done,
                                   keep_going=True, cache=self.cache)  # fmt: skip
        except headless.GraphError as error:
            self._fail(str(error), error.body)
            return
        for node_id, ui in results.outputs.items():
            self.events.tell("shown", node=node_id, output=ui)
            for file in (one for shown in ui.values() for one in shown if isinstance(one, dict) and "filename" in one):
                folder = self.output / "temp" if file["type"] == "temp" else self.output
                self.files.append(str(folder / file["subfolder"] / file["filename"]))
        for error in results.errors:
            self._fail(str(error), error.body)
        for node_id, messages in results.blocked.items():
            self.events.tell("blocked", node=node_id, messages=messages)
        if not results.report.ok:
            self._fail(f"parts of the workflow were not run: {results.report.sentence()}", results.report.body)

    def _show_node(self, node: headless.Node) -> None:
        self.drawn.name(node.title or node.class_type)
        self.events.start(node)

    def _fail(self, message: str, body: Any) -> None:
        self.failures.append(message)
        self.events.tell("error", message=message, body=body)
