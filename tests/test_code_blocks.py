"""Every block of Python in the README and in docs/ runs as printed, after those before it on its page.

The files they name are small ones in a temporary folder. docs/adding_a_family.md quotes files: test_adding_a_family.py.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from exact_vae.vae_core import from_weights, inspect, save
from PIL import Image
from support.random_networks import random_weights, small_kl
from support.small_networks import small

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("CONTRIBUTING.md"))]
FENCE = re.compile(r"^```(?:python|py)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    return FENCE.findall(page.read_text())


RUN = [page for page in PAGES if blocks(page) and page.name != "adding_a_family.md"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files that pages name, in the folder that is the current one."""
    save(from_weights(random_weights("kl", small_kl()), "small"), tmp_path / "sdxl_vae.safetensors")
    save(small("wan", torch.float32), tmp_path / "wan_2.1_vae.safetensors")
    save(small("asymmetric", torch.float32), tmp_path / "asymmetric_vae.safetensors")
    (tmp_path / "photos").mkdir()
    for number, size in enumerate(((64, 64), (64, 48), (60, 60))):
        Image.new("RGB", size, (80 * number, 100, 200)).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)


def test_the_readme_is_among_them():
    assert len(blocks(ROOT / "README.md")) >= 5 and ROOT / "README.md" in RUN


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_code_runs_as_printed(page, files):
    assert run_blocks(page)


def test_the_readme_s_code_gives_what_its_comments_say(files, tmp_path):
    names = run_blocks(ROOT / "README.md")
    assert names["posterior"].size == (300, 200)
    assert names["clip"].shape == names["frames"].shape and names["noise"].shape == names["latent"].shape
    assert inspect(tmp_path / "sdxl_vae_diffusers.safetensors").layout == "diffusers"


def run_blocks(page: Path) -> dict[str, Any]:
    """The names that the page's code leaves."""
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks(page)):
        code = compile(block, f"{page.name}, block {number}", "exec")
        exec(code, names)  # noqa: S102
    return names


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_code_of_pages_imports_facades_only(page):
    for block in blocks(page):
        assert not re.search(r"exact_vae\.vae_core\.\w+\.", block)
