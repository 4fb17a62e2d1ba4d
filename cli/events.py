"""What happens during a run, as lines of JSON on stderr: {"event": "start", "node": "3", ...}."""

import json
import sys
from pathlib import Path
from typing import Any

from .. import headless
from ..vae_core.files import LARGEST_JSON, demand_file
from .as_json import write_json


class Events:
    """Call it with (done, total) within a node."""

    def __init__(self, shown: bool):
        self._shown = shown
        self._node: dict[str, Any] = {}
        self.run = 1  # the number of the run

    def __call__(self, done: int, total: int) -> None:
        self.tell("progress", **self._node, done=done, total=total)

    def name(self, what: str) -> None:
        """The nodes name themselves."""

    def start(self, node: headless.Node) -> None:
        self._node = {"node": node.id, "class": node.class_type, "title": node.title}
        self.tell("start", **self._node)

    def done(self, done: int, total: int, node: headless.Node) -> None:
        self.tell("done", node=node.id, done=done, total=total)

    def tell(self, event: str, **facts: Any) -> None:
        if self._shown:
            print(write_json({"event": event, "run": self.run, **facts}, None), file=sys.stderr, flush=True)


def read_batch(path: Path) -> list[dict[str, Any]]:
    """The runs of a file: on each line an object {"NODE.INPUT": value}. Raises GraphError."""
    try:
        with demand_file(path).open("rb") as file:
            text = file.read(LARGEST_JSON + 1).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise headless.GraphError(f"'{path}' is no text of runs: write {{\"3.seed\": 7}} on each line") from error
    if len(text) > LARGEST_JSON:
        raise headless.GraphError(f"'{path}' is larger than {LARGEST_JSON // 2**20} MiB: give the runs in parts")
    runs = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            settings = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise headless.GraphError(f"line {number} of '{path}' is not JSON: {error}") from error
        if not isinstance(settings, dict):
            raise headless.GraphError(f"line {number} of '{path}' is no object: write it as {{\"3.seed\": 7}}")
        runs.append(settings)
    if not runs:
        raise headless.GraphError(f"there is no run in '{path}': write {{\"3.seed\": 7}} on each line, or {{}}")
    return runs
