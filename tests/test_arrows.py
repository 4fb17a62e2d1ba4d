"""The arrows of imports: cli -> nodes, headless -> vae_core -> execution -> ops <- families. And that importing is all.

Walks the ASTs, so imports inside functions count too.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Who must not import whom. Paths are packages or modules below the root.
FORBIDDEN = [
    ("vae_core", "nodes"),
    ("vae_core", "headless"),
    ("vae_core", "cli"),
    ("nodes", "headless"),
    ("nodes", "cli"),
    ("headless", "nodes"),
    ("headless", "cli"),
    ("vae_core", "training"),
    ("nodes", "training"),
    ("headless", "training"),
    ("training", "nodes"),
    ("training", "headless"),
    ("training", "cli"),
    ("vae_core/families", "vae_core/execution"),
    ("vae_core/execution", "vae_core/vae"),
    ("vae_core/families", "vae_core/vae"),
    ("vae_core/families", "vae_core/checkpoints"),
    ("vae_core/execution", "vae_core/checkpoints"),
    ("vae_core/latents", "vae_core/families"),
    ("vae_core/latents", "vae_core/checkpoints"),
    ("vae_core/images", "vae_core/execution"),
    ("vae_core/files", "vae_core/images"),
    ("vae_core/ops", "vae_core/families"),
    ("vae_core/ops", "vae_core/execution"),
]
HOST = ("comfy", "folder_paths", "server", "comfy_execution", "comfy_api")


def modules(under: str = "") -> list[Path]:
    below = ROOT / under
    if below.with_suffix(".py").is_file():
        return [below.with_suffix(".py")]
    tops = ("vae_core", "nodes", "headless", "cli", "training")
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


@pytest.mark.parametrize(("who", "whom"), FORBIDDEN, ids=lambda x: x)
def test_arrow(who, whom):
    wrong = {p.name: i for p in modules(who) for i in imports(p) if i == whom or i.startswith(f"{whom}/")}
    assert not wrong, f"{who} must not import {whom}"
    assert modules(who), f"{who} has no modules: is this list up to date?"


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
