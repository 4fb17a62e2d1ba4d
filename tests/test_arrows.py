"""The arrows of imports: cli -> nodes, headless -> vae_core -> execution -> ops <- families. And that importing is all.

Walks the ASTs, so imports inside functions count too, and those that facades make for type checkers: they say which
modules a facade reads when its names are first used.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Who may import whom of the packages and modules of vae_core, beside those of EVERYBODY and itself.
KNOWS: dict[str, tuple[str, ...]] = {
    "lazy": (),
    "errors": (),
    "devices": (),
    "plain": (),
    "version": (),
    "ops": (),
    "files": (),
    "images": (),
    "latents": ("files", "images"),
    "families": ("ops", "latents", "images"),
    "kernels": (),
    "execution": ("ops", "families", "images", "files", "kernels"),  # files: scratch files are left behind by nobody
    "readers": ("execution", "files", "images"),
    "videos": ("readers", "files", "images"),
    "posterior": ("execution", "ops"),
    "inputs": ("execution", "families", "images", "latents"),
    "verdicts": ("execution", "families", "files", "version"),
    "calls": ("execution", "families"),
    "piecewise": ("inputs", "posterior", "execution", "families", "images", "ops"),
    "vae": (
        "calls",
        "piecewise",
        "verdicts",
        "inputs",
        "posterior",
        "execution",
        "families",
        "files",
        "images",
        "latents",
        "ops",
    ),
    "checkpoints": ("vae", "execution", "families", "files", "latents", "ops"),
    "reports": ("checkpoints", "vae", "posterior", "execution", "families", "images", "latents", "files"),
    "diffusers": ("vae", "inputs", "execution", "families", "latents"),
    "doctor": ("reports", "vae", "verdicts", "execution", "families", "images", "ops", "version"),
}
EVERYBODY = ("errors", "devices", "plain", "lazy")  # is known to all
# Who must not import whom, and of whom only facades are imported.
FORBIDDEN = [
    ("vae_core", ("nodes", "headless", "batch", "cli", "training")),
    ("nodes", ("headless", "cli", "training")),
    ("headless", ("nodes", "batch", "cli", "training", "vae_core/reports")),
    ("training", ("nodes", "headless", "batch", "cli", "vae_core/reports")),
    ("batch", ("nodes", "headless", "cli", "training", "vae_core/reports")),
]
FACADES = ("vae_core/errors", "vae_core/plain")  # beside vae_core and its packages
DEEPER = {"training": ("vae_core/families/kl",)}
# Words of the host's: of its VAEs, latents and modules.
HOST_WORD = re.compile(
    r"spacial_|_spacial|first_stage_model|downscale_ratio|upscale_ratio|throw_exception_if|model_management|folder_paths|"
    r"patcher|temporal_compression|latent_dim|not_video|process_output|process_input|vae_dtype"
)
# Prefixes of names in files, and facts by diffusers' names; and core's own nodes, which are known by what they give.
HOST_WORD_IN = ("vae_core/families/names/", "vae_core/checkpoints/", "vae_core/diffusers/", "headless/core/")
HOST = ("comfy", "folder_paths", "server", "comfy_execution", "comfy_api")


def modules(under: str = "") -> list[Path]:
    below = ROOT / under
    if below.with_suffix(".py").is_file():
        return [below.with_suffix(".py")]
    tops = ("vae_core", "nodes", "headless", "batch", "cli", "training")
    return [p for p in sorted(below.rglob("*.py")) if p.relative_to(ROOT).parts[0] in tops]


def imports(path: Path) -> set[str]:
    """Everything a module imports, relative imports as paths from the root ('vae_core/ops'), others by name."""
    found = set()
    here = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.ImportFrom):
            base = (*here[: len(here) - node.level + 1], *(node.module.split(".") if node.module else ()))
            found |= {"/".join(base), *("/".join((*base, alias.name)) for alias in node.names)}
    return found


def name_of(path: Path) -> str:
    """'vae_core/ops' of vae_core/ops/__init__.py, 'vae_core/vae' of vae_core/vae.py"""
    return path.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__init__")


def is_in(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}/")


NAMES = {name_of(path) for path in modules()}


def relative_imports(path: Path) -> set[tuple[str, str]]:
    """(the package or module that is imported from, the name), of every relative import."""
    here = path.relative_to(ROOT).parent.parts
    nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.level]
    found = set()
    for node in nodes:
        base = "/".join((*here[: len(here) - node.level + 1], *(node.module or "").split("."))).rstrip("/")
        found |= {(base, alias.name) for alias in node.names}
    return found


def imported_modules(path: Path) -> set[str]:
    """The modules that are imported, or from which a name is."""
    both = {(base, f"{base}/{name}".lstrip("/")) for base, name in relative_imports(path)}
    return {module if module in NAMES else base for base, module in both} & NAMES - {name_of(path)}


@pytest.mark.parametrize(("who", "whom"), [(who, one) for who, several in FORBIDDEN for one in several])
def test_arrow(who, whom):
    wrong = {name_of(p): i for p in modules(who) for i in imports(p) if is_in(i, whom)}
    assert not wrong, f"{who} must not import {whom}"
    assert modules(who), f"{who} has no modules: is this list up to date?"


@pytest.mark.parametrize("who", KNOWS)
def test_packages_of_the_library_know_only_those_below(who):
    allowed = {f"vae_core/{one}" for one in (*KNOWS[who], *EVERYBODY, who)}
    seen = {(name_of(p), i) for p in modules(f"vae_core/{who}") for i in imported_modules(p)}
    assert not {(p, i) for p, i in seen if i != "vae_core" and not any(is_in(i, one) for one in allowed)}


def test_every_package_of_the_library_is_listed():
    inside = {p.name.removesuffix(".py") for p in (ROOT / "vae_core").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert inside - {"__init__", "__pycache__", "py.typed"} == set(KNOWS)


def test_outside_of_the_library_only_facades_are_imported():
    deep = set()
    for path in modules():
        top = name_of(path).partition("/")[0]
        allowed = ("vae_core", *FACADES, *DEEPER.get(top, ()))
        for base, name in relative_imports(path) if top != "vae_core" else ():
            is_package = base.count("/") == 1 and (ROOT / base).is_dir()
            if is_in(base, "vae_core") and not is_package and base not in allowed:
                deep.add((name_of(path), base, name))
    assert not deep


def test_no_circle_of_imports():
    graph = {name_of(path): imported_modules(path) for path in modules()}
    finished: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        for one in sorted(graph[module]) if module not in finished else ():
            visit(one, (*way, module))
        finished.add(module)

    for module in graph:
        visit(module, ())


def test_only_the_host_package_knows_the_host_s_words():
    found = set()
    for path in modules():
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(("nodes/host/", *HOST_WORD_IN)):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            values = [getattr(node, field, None) for field in ("attr", "id", "arg", "name", "value")]
            words = [word for word in values if isinstance(word, str) and " " not in word and HOST_WORD.search(word)]
            found |= {(name, word) for word in words}
    assert not found


CONTAINERS = ("dict", "list", "set", "defaultdict", "OrderedDict", "Counter", "deque")
WRITES = ("append", "add", "update", "setdefault", "pop", "popitem", "clear", "extend", "insert", "remove", "discard")


def is_container(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return called in CONTAINERS or called.startswith("Weak")
    return isinstance(value, (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp))


def written_names(tree: ast.Module) -> set[str]:
    """Names of containers that something in the module writes into, or that a function rebinds."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            found |= set(node.names)
        stores = isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)
        calls = isinstance(node, ast.Attribute) and node.attr in WRITES
        if (stores or calls) and isinstance(node.value, ast.Name):  # type: ignore[union-attr]
            found.add(node.value.id)  # type: ignore[union-attr]
    return found


def test_modules_keep_no_state():
    """What a run finds out is kept on objects. Tables are never written, and caches are of pure functions."""
    found = set()
    for path in modules():
        tree = ast.parse(path.read_text())
        written = written_names(tree)
        for node in tree.body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and is_container(node.value):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = {target.id for target in targets if isinstance(target, ast.Name)}
                weak = "Weak" in ast.unparse(node.value or node)
                found |= {(name_of(path), name) for name in names if name in written or weak}
    assert not found


def test_walker_sees_imports():
    assert "vae_core/ops" in imports(ROOT / "vae_core" / "families" / "kl.py")
    assert any(i.startswith("nodes") for i in imports(ROOT / "cli" / "codec.py"))


def test_only_the_host_package_knows_the_host():
    knowing = [p for p in modules() if {i.split(".")[0] for i in imports(p)} & {*HOST}]
    assert {p.parent.relative_to(ROOT).as_posix() for p in knowing} == {"nodes/host"}


def test_the_library_does_not_name_the_host():
    assert not [p.name for p in modules("vae_core") if "comfy" in p.read_text().lower()]


def test_importing_does_nothing():
    """No output, no device probe, no directory scan, and no host or heavyweight is pulled in."""
    code = """
import os, sys, torch
listed = []
os.listdir, os.scandir = (lambda *a, f=f: listed.append(a) or f(*a) for f in (os.listdir, os.scandir))
before = set(sys.modules)
threads = torch.get_num_threads()
import exact_vae
listed = [a for a in listed if "exact_vae" not in str(a) and "site-packages" not in str(a)]
assert not torch.cuda.is_initialized()
new = {m.split(".")[0] for m in set(sys.modules) - before}
assert not new & {"comfy", "folder_paths", "PIL", "diffusers", "tqdm", "scipy"}, new
assert not any("models" in str(a) for a in listed), listed
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
