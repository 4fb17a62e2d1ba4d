"""Classes of ComfyUI's own third API: its results, and those of the headless runner beside its modules."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.comfyui_server import ROOT

SUPPORT = ROOT / "tests" / "support"
# In ComfyUI's interpreter, which has its modules but not this pack installed.
RUN = """
import importlib.util, json, sys
from pathlib import Path
root, support, comfyui = map(Path, sys.argv[1:])
graphs = json.load(sys.stdin)
sys.argv[1:] = ["--cpu"]
sys.path[:0] = [str(comfyui), str(support)]
spec = importlib.util.spec_from_file_location("exact_vae", root / "__init__.py", submodule_search_locations=[str(root)])
sys.modules["exact_vae"] = pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
from exact_vae import headless
import nodes_of_v3
nodes = {one.GET_SCHEMA().node_id: one for one in nodes_of_v3.CLASSES}
found = []
for graph in graphs:
    parsed = headless.parse(graph)
    report = headless.check(parsed, nodes)
    texts = {}
    if report.ok:
        outputs = headless.run(parsed, nodes).outputs
        texts = {number: list(shown["text"]) for number, shown in outputs.items()}
    found.append([texts, [one["details"] for entry in report.node_errors.values() for one in entry["errors"]]])
print(json.dumps(found))
"""


def show(of: str, output: int = 0) -> dict:
    return {"class_type": "ThirdShow", "inputs": {"value": [of, output]}}


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


GRAPHS = {
    "async, and an optional input": {
        "1": node("ThirdAdd", a=2), "2": node("ThirdAdd", a=["1", 0], b=1),
        "9": show("2"),
    },
    "lists": {
        "1": node("ThirdRange", n=4), "2": node("ThirdAdd", a=["1", 0], b=["1", 1]),
        "3": node("ThirdTotal", values=["2", 0]),
        "8": show("2"), "9": show("3"),
    },
    "a dynamic combo": {
        "1": node("ThirdHow", n=3, **{"how": "plus", "how.m": 5}), "2": node("ThirdHow", n=["1", 0], how="twice"),
        "9": show("2"),
    },
    "inputs that grow": {
        "1": node("ThirdAdd", a=1, b=1), "2": node("ThirdGrow", **{"values.value0": ["1", 0], "values.value1": 5}),
        "9": show("2"),
    },
    "lazy inputs": {
        "1": node("ThirdFail"), "2": node("ThirdAdd", a=1, b=2),
        "3": node("ThirdLazy", first=False, a=["1", 0], b=["2", 0]),
        "9": show("3"),
    },
    "expansion": {"1": node("ThirdExpand", n=4), "9": show("1")},
    "blocked": {"1": node("ThirdRange", n=5), "2": node("ThirdEven", n=["1", 0]), "9": show("2"), "8": show("1", 1)},
}  # fmt: skip
REFUSED = {"1": node("ThirdRange", n=100), "9": show("1")}


@pytest.fixture(scope="module")
def headless(comfyui: Path) -> dict:
    """By the name of the graph: the texts that are shown, by node, and what is wrong with it."""
    python = os.environ.get("EXACT_VAE_COMFYUI_PYTHON", sys.executable)
    given = json.dumps([*GRAPHS.values(), REFUSED])
    command = [python, "-c", RUN, ROOT, SUPPORT, comfyui]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300, cwd=comfyui)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip([*GRAPHS, "refused"], json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("name", GRAPHS)
def test_the_results_are_the_same(server, headless, name):
    entry = server.prompt(GRAPHS[name])
    theirs = {number: shown["text"] for number, shown in entry["outputs"].items()}
    assert entry["status"]["status_str"] == "success" and theirs
    texts, wrong = headless[name]
    assert texts == theirs and not wrong


def test_what_a_class_refuses_is_refused_alike(server, headless):
    with pytest.raises(AssertionError) as refused:
        server.queue(REFUSED)
    (wrong,) = json.loads(str(refused.value))["node_errors"]["1"]["errors"]
    assert headless["refused"] == [{}, [wrong["details"]]] and "that is too long" in wrong["details"]
