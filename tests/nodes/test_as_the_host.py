"""The pack, loaded as ComfyUI loads it: by its folder, under a name that is a path, where no exact_vae is installed."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from exact_vae import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from support.load_like_comfyui import describe_node

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "support" / "load_like_comfyui.py"
NODES = pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the script tells. Of the folder's name no module's could be made: the host does not mind."""
    place = tmp_path_factory.mktemp("host")
    folder, work = place / "custom_nodes" / "comfyui-exact.vae 0", place / "work"
    folder.parent.mkdir()
    work.mkdir()
    folder.symlink_to(ROOT, target_is_directory=True)
    done = subprocess.run(
        [sys.executable, "-I", "-B", str(SCRIPT), str(folder), str(work)], cwd=work, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == done.stderr == "", "the host's console stays clean"
    return {**json.loads((work / "said.json").read_text()), "folder": str(folder)}


def test_its_name_is_its_path(said):
    assert said["name"] == said["folder"].replace(".", "_x_") and said["name"].startswith("/")
    for node in said["nodes"].values():
        assert node["module"].startswith(said["name"] + ".nodes.")


def test_it_imports_by_dots_and_only_what_it_declares(said):
    assert said["bare"] == []
    assert said["more modules"] == [], "beside torch, numpy, safetensors and psutil"


def test_loading_changes_nothing_else(said):
    before, after = said["settings"]
    assert before == after and not after["cuda"]
    assert said["files made"] == ["bare"]


def test_all_nodes_are_there(said):
    assert set(said["nodes"]) == set(NODE_CLASS_MAPPINGS) == set(said["display"])
    assert said["display"] == NODE_DISPLAY_NAME_MAPPINGS


@NODES
def test_a_node_is_the_same_class_under_another_name(said, node):
    """So that what test_contract.py finds of it holds in the host as well."""
    here = describe_node(NODE_CLASS_MAPPINGS[node])
    assert {**said["nodes"][node], "module": ""} == {**here, "module": ""}


@NODES
def test_a_node_runs_on_what_it_declares_and_changes_none_of_it(said, node):
    """Each declared input was given, from a wire or as its widget shows it at first."""
    ran = said["ran"][node]
    assert ran["results"] == len(NODE_CLASS_MAPPINGS[node].RETURN_TYPES)
    assert ran["changed"] == []
    assert ran["weights"] > 50  # those of the VAE were compared too


@NODES
def test_its_texts_lie_where_the_host_looks(said, node):
    """Under the folder that it loaded: /extensions/<folder>/docs, and locales for /i18n."""
    folder = Path(said["folder"])
    assert (folder / said["web"] / "docs" / f"{node}.md").is_file()
    for language in ("en", "ja", "zh"):
        assert node in json.loads((folder / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def test_a_scanner_can_read_the_ids():
    """The Manager finds the pack of a missing node by reading the source, not by running it."""
    tree = ast.parse((ROOT / "nodes" / "__init__.py").read_text())
    tables = {ast.unparse(line.targets[0]): line.value for line in tree.body if isinstance(line, ast.Assign)}
    for name, want in (
        ("NODE_CLASS_MAPPINGS", NODE_CLASS_MAPPINGS),
        ("NODE_DISPLAY_NAME_MAPPINGS", NODE_DISPLAY_NAME_MAPPINGS),
    ):
        table = tables[name]
        assert isinstance(table, ast.Dict)
        assert [ast.literal_eval(key) for key in table.keys if key] == list(want)
