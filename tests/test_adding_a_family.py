"""docs/adding_a_family.md: its code is in the files it names, what follows >>> is so, and what it mentions exists."""

import doctest
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from exact_vae.vae_core import VAE, ops
from exact_vae.vae_core.families import wan
from exact_vae.vae_core.families.blocks import base
from exact_vae.vae_core.families.names import Layout
from exact_vae.vae_core.ops import time as temporal
from safetensors.torch import save_file
from support.headers import header

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "adding_a_family.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
QUOTED = [block for block in BLOCKS if block.startswith("# ")]
SHOWN = [block for block in BLOCKS if block.startswith(">>> ")]


@pytest.mark.parametrize("block", QUOTED, ids=range(len(QUOTED)))
def test_quoted_code_is_in_its_file(block):
    path, code = block.split("\n", 1)
    assert code in (ROOT / path.removeprefix("# ")).read_text()


def test_what_is_shown_is_what_happens():
    assert SHOWN
    test = doctest.DocTestParser().get_doctest("".join(SHOWN), {}, PAGE.name, str(PAGE), 0)
    said: list[str] = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert tried > 8 and not failed, "".join(said)


def test_a_header_is_kept_as_it_says(tmp_path):
    """The one block that is neither: run where there is such a file."""
    (block,) = (block for block in BLOCKS if block not in QUOTED + SHOWN)
    (tmp_path / "tests" / "headers").mkdir(parents=True)
    shapes = header("stable-cascade-stage-a.comfy")["shapes"]
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "stage_a.safetensors")
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, env=dict(os.environ), check=True)
    kept = json.loads((tmp_path / "tests" / "headers" / "my-family.original.json").read_text())
    assert {n: tuple(s) for n, s in kept["shapes"].items()} == shapes
    assert kept.keys() == header("stable-cascade-stage-a.comfy").keys()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT):
        assert (PAGE.parent / target).exists(), target
    for path in re.findall(r"\btests/[\w/]+\.py\b", TEXT):
        assert (ROOT / path).exists(), path


def test_names_exist():
    """Every `word` of the prose is one of ours, but for a few."""
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    tests = ("vae_core/checkpoints/test_detection.py", "support/small_networks.py", "support/diffusers_networks.py")
    files = [*(ROOT / "vae_core").rglob("*.py"), *(ROOT / "nodes").glob("*.py"), *(ROOT / "tests" / t for t in tests)]
    ours = {name for path in files for name in _defined(path)}
    for thing in (
        ops,
        temporal,
        base,
        base.Network,
        base.Family,
        base.Halves,
        base.Config,
        base.ClipLaw,
        Layout,
        ops.Near,
        ops.Nest,
        ops.Window,
        ops.Global,
        VAE,
    ):
        ours |= set(dir(thing))
    ours |= set(vars(wan.RMSNorm))
    others = {"None", "arch", "forward", "ops", "pixel_unshuffle", "widths"}  # Python's, torch's, a header's, a block's
    others |= {"expected", "family", "layout", "repeats"}  # of a header, and of a convolution
    mentioned = set(re.findall(r"`([A-Za-z_]+)(?:\(.*?\))?`", prose))
    assert len(mentioned) > 30
    assert mentioned - ours <= others


def _defined(path: Path) -> list[str]:
    return re.findall(r"^(?:def |class )?([A-Za-z_]+)", path.read_text(), re.MULTILINE)
