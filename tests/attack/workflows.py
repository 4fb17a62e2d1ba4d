"""Workflows as the editor and the API have them, mutated; and graphs of cheap nodes, which are run."""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import torch
from exact_vae import headless
from exact_vae.nodes import NODE_CLASS_MAPPINGS, host
from exact_vae.vae_core import VAEError

from attack.harness import Attack
from attack.hostile import make_value, mutate

ROOT = Path(__file__).parents[2]
CHEAP = ("EmptyImage", "SaveImage", "PreviewImage", "EmptyLatentImage", "SaveLatent", "LoadImage", "LoadLatent")


@cache
def read_examples() -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8") for path in sorted((ROOT / "example_workflows").glob("*.json")))


def make_nodes(folder: Path) -> dict[str, type]:
    core = headless.core_nodes(folder / "in", folder / "out", folder / "out" / "temp", NODE_CLASS_MAPPINGS)
    return {**NODE_CLASS_MAPPINGS, **core}


def mutate_workflow(rng: random.Random) -> Any:
    """One of the example workflows with one to six changes; a third of them nested in subgraphs first."""
    flow = json.loads(rng.choice(read_examples()))
    if rng.random() < 0.3:
        flow = nest(flow, rng.randrange(1, 5), rng.randrange(1, 4))
    return mutate(flow, rng, rng.randrange(1, 7))


def nest(flow: dict, depth: int, count: int) -> dict:
    """The workflow as a subgraph of a subgraph, each used `count` times."""
    graphs = [{**flow, "id": "s0", "name": "s0", "inputs": [], "outputs": []}]
    for n in range(1, depth + 1):
        shells = [{"id": i, "type": f"s{n - 1}", "mode": 0, "inputs": [], "outputs": []} for i in range(count)]
        graphs.append({"id": f"s{n}", "name": f"s{n}", "nodes": shells, "links": [], "inputs": [], "outputs": []})
    top = graphs.pop()
    return {"nodes": top["nodes"], "links": [], "definitions": {"subgraphs": graphs}}


def check_workflow(flow: Any, folder: Path) -> None:
    """From a file: read, checked, and told in sentences. All that can be wrong with it is a GraphError."""
    (folder / "flow.json").write_text(json.dumps(flow))
    with host.surroundings(folder, None, folder / "out", folder / "in"):
        nodes = make_nodes(folder)
        report = headless.check(headless.load(folder / "flow.json", nodes), nodes)
        json.dumps(report.body, default=repr)
        if not report.ok:
            raise headless.GraphError(report.sentence())


def make_graph(rng: random.Random) -> dict:
    """An image, a latent, and up to six more cheap nodes in the API format; a few values hostile."""
    graph: dict[str, Any] = {}
    kinds = ["EmptyImage", "EmptyLatentImage", "SaveImage", *rng.choices(CHEAP, k=rng.randrange(6))]
    for i, kind in enumerate(kinds):
        inputs: dict[str, Any] = {"width": 16, "height": 16, "batch_size": 1, "color": 0, "filename_prefix": "x"}
        graph[str(i)] = {"class_type": kind, "inputs": {**inputs, "images": ["0", 0], "samples": ["1", 0]}}
    for _ in range(rng.randrange(3)):
        inputs = rng.choice(list(graph.values()))["inputs"]
        inputs[rng.choice([*inputs, "image", "latent", "other"])] = make_value(rng)
    return graph


def run_graph(graph: dict, folder: Path) -> None:
    """Parsed and run: what is shown is there, inside the output folder, and nothing else is anywhere."""
    (folder / "in").mkdir()
    nodes = make_nodes(folder)
    for entry in graph.values():  # an image of 16384 pixels a side is no attack, but takes its time
        entry["inputs"] = {name: _shrink(value) for name, value in entry["inputs"].items()}
    shown = {}
    try:
        with torch.no_grad():
            shown = headless.run(headless.parse(graph), nodes).outputs
    except VAEError:
        raise
    finally:
        stray = [p.name for p in folder.rglob("*.part")] + [
            p.name for p in folder.iterdir() if p.name not in ("in", "out")
        ]
        assert not stray, f"left behind: {stray}"
    for ui in shown.values():
        for file in (*ui.get("images", ()), *ui.get("latents", ())):
            kind = {"output": folder / "out", "temp": folder / "out" / "temp"}[file["type"]]
            assert (kind / file["subfolder"] / file["filename"]).is_file(), file


def _shrink(value: Any) -> Any:
    return 64 if type(value) is int and value > 64 else value


ATTACKS = (
    Attack("workflows, mutated", mutate_workflow, check_workflow, 6000),
    Attack("graphs, run", make_graph, run_graph, 2400),
)
