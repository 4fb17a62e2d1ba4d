"""Importing the pack reads the declarations of nodes and little else; facades read a module when a name is first used.

Counted instead of timed, so that it holds on any machine.
"""

import ast
import importlib
import io
import os
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest
from exact_vae import vae_core

ROOT = Path(__file__).parents[1]
MOST_MODULES = 56  # of the pack, read by `import exact_vae`
# Net allocations of containers that `import exact_vae` makes. About 7000 set off a collection of all that torch has
# allocated, which takes longer than the import.
MOST_CONTAINERS = 3500 if sys.version_info >= (3, 11) else 3700
LIGHT = {"vae_core", "vae_core.lazy", "vae_core.errors", "vae_core.devices.dtypes", "vae_core.plain"}


def find_facades() -> dict[str, ast.Module]:
    """The facades that read on first use, by their names in the pack: 'vae_core.latents'."""
    paths = [*ROOT.glob("vae_core/**/__init__.py"), *ROOT.glob("nodes/**/__init__.py")]
    trees = {".".join(p.parent.relative_to(ROOT).parts): ast.parse(p.read_text()) for p in paths}
    return {name: tree for name, tree in sorted(trees.items()) if "lazy.offer" in ast.unparse(tree)}


FACADES = find_facades()


def read(name: str):
    return importlib.import_module(f"exact_vae.{name}")


def split(tree: ast.Module) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """(what a facade imports for type checkers, what it does in programs)"""
    (branch,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(branch.test) == "TYPE_CHECKING"
    return branch.body, branch.orelse


def names_for_checkers(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Name -> (module, name in it; '' for the module itself), of the imports that type checkers see."""
    found = {}
    for node in split(tree)[0]:
        assert isinstance(node, ast.ImportFrom) and node.level == 1
        found |= {alias.name: (node.module or "", alias.name) for alias in node.names}
    return found


def names_for_programs(tree: ast.Module) -> dict[str, str]:
    """Name -> module, of the table that programs use."""
    (statement,) = split(tree)[1]
    assert isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call)
    table = ast.literal_eval(statement.value.args[1])
    pairs = [(name, module) for module, names in table.items() for name in names.split()]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def imported() -> tuple[set[str], int]:
    """(modules of the pack that importing it reads, containers that are left over)"""
    out = run_python("""
import torch, psutil, safetensors.torch  # which the host has imported before
import gc, sys
gc.collect()
gc.disable()
before = gc.get_count()[0]
import exact_vae
print(gc.get_count()[0] - before)
print(*(name for name in sys.modules if name.partition(".")[0] == "exact_vae"))
""")
    containers, modules = out.splitlines()
    return {name.partition(".")[2] for name in modules.split()}, int(containers)


def test_importing_reads_few_modules(imported):
    assert 20 < len(imported[0]) <= MOST_MODULES


def test_importing_reads_only_facades_of_the_library(imported):
    of_library = {name for name in imported[0] if name.partition(".")[0] == "vae_core"}
    assert of_library <= LIGHT | FACADES.keys()
    assert "nodes.host.socket" not in imported[0]


def test_importing_makes_few_containers(imported):
    assert imported[1] <= MOST_CONTAINERS


def test_torch_s_compiler_is_not_loaded():
    """It takes longer than a first image: torch reads it when its own meta kernels or draws on the meta device run."""
    assert not run_python("""
import sys, torch
known = "torch._dynamo" in sys.modules
from exact_vae import vae_core
from exact_vae.vae_core.families import FAMILIES
from exact_vae.vae_core.families.registry import expected_shapes
shapes = [expected_shapes(family.name, family.example) for family in FAMILIES]
vae = vae_core.load()
vae.decode(vae.encode(torch.zeros(1, 3, 64, 64)).mode())
if not known and "torch._dynamo" in sys.modules:
    print("it is")
""")


def test_all_packages_that_nodes_import_are_facades():
    assert len(FACADES) == 16 and {"vae_core", "vae_core.latents", "nodes.host"} <= FACADES.keys()


@pytest.mark.parametrize("facade", FACADES)
def test_type_checkers_and_programs_are_told_the_same(facade):
    tree, folder = FACADES[facade], ROOT / facade.replace(".", "/")
    checkers, programs = names_for_checkers(tree), names_for_programs(tree)
    assert checkers.keys() == programs.keys()
    for name, (module, inside) in checkers.items():
        is_module = (folder / module.replace(".", "/") / f"{inside}.py").exists()
        assert programs[name] == (f"{module}.{inside}".lstrip(".") if is_module else module), name


@pytest.mark.parametrize("facade", FACADES)
def test_every_name_is_there(facade):
    module = read(facade)
    lazy = names_for_programs(FACADES[facade])
    assert lazy.keys() <= set(module.__all__)
    for name, home in lazy.items():
        source = read(f"{facade}.{home}")
        assert getattr(module, name) is (source if name == home.split(".")[-1] else getattr(source, name)), name
        assert vars(module)[name] is getattr(module, name), "found once, kept"


@pytest.mark.parametrize("facade", FACADES)
def test_no_name_is_that_of_another_module(facade):
    """Python puts a module into its package when it is read, under its name: where the facade's name would be."""
    folder = ROOT / facade.replace(".", "/")
    modules = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    assert not {name for name, home in names_for_programs(FACADES[facade]).items() if name in modules - {home}}


@pytest.mark.parametrize("path", sorted(ROOT.glob("nodes/*.py")), ids=lambda path: path.stem)
def test_nodes_use_names_that_facades_have(path):
    """What is looked up when a node runs is looked up here when it does not."""
    tree = ast.parse(path.read_text())
    packages = {}
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.ImportFrom) and node.level else ():
            base = ".".join(filter(None, ("nodes" if node.level == 1 else "", node.module, alias.name)))
            packages |= {alias.asname or alias.name: base} if base in FACADES else {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in packages:
            assert node.attr in read(packages[node.value.id]).__all__, f"{node.value.id}.{node.attr}"


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match=r"module 'exact_vae\.vae_core' has no attribute 'loda'"):
        vae_core.loda  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'loda'"):
        from exact_vae.vae_core import loda  # noqa: F401


def test_names_are_listed_before_they_are_read():
    out = run_python("""
import sys
from exact_vae.vae_core import latents
print(sorted(set(latents.__all__) - set(dir(latents))), "exact_vae.vae_core.latents.tag" in sys.modules)
space = {}
exec("from exact_vae.vae_core.latents import *", space)
print(sorted(set(latents.__all__) - set(space)), "exact_vae.vae_core.latents.tag" in sys.modules)
""")
    assert out.splitlines() == ["[] False", "[] True"]


def test_what_a_facade_gives_can_be_pickled_and_looked_up():
    noise = vae_core.Noise(7)
    assert pickle.loads(pickle.dumps(noise)) == noise
    assert pickle.loads(pickle.dumps(vae_core.load)) is vae_core.load
    page = io.StringIO()
    pydoc.Helper(output=page).help(vae_core)
    assert "class Posterior" in page.getvalue() and "load(" in page.getvalue()


def test_threads_that_ask_at_once_get_the_same():
    """Each thread begins at another name, so that they read modules that need one another at the same time."""
    out = run_python(f"""
import importlib, sys, threading
import torch, exact_vae
sys.setswitchinterval(1e-5)
facades = [importlib.import_module("exact_vae." + name) for name in {sorted(FACADES)}]
names = [(facade, name) for facade in facades for name in facade.__all__]
start, found = threading.Barrier(8), [{{}} for _ in range(8)]
def ask(number):
    first = number * len(names) // 8
    start.wait()
    for facade, name in names[first:] + names[:first]:
        found[number][facade.__name__, name] = getattr(facade, name)
threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(names), sum(all(one.get(key) is value for one in found) for key, value in found[0].items()))
""")
    asked, alike = out.split()
    assert asked == alike and int(asked) > 150
