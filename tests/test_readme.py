"""What the README and the packaging promise is what there is."""

import contextlib
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import readme_tables
from exact_vae import NODE_DISPLAY_NAME_MAPPINGS
from exact_vae.cli import parser
from exact_vae.vae_core import UnknownCheckpoint, detect
from exact_vae.vae_core.families import FAMILIES
from support.headers import header, header_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(("path", "name", "make"), readme_tables.TABLES, ids=["files", "cards"])
def test_tables_are_what_the_code_says(path, name, make):
    page = path.read_text()
    assert readme_tables.write_table(page, name, make()) == page, "run `python docs/readme_tables.py`"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_member_has_its_headers(family):
    """What a family says of its members is what their files say: their headers are in tests/headers, and no others."""
    assert {(m.channels, m.ratio, m.frames) for m in family.members} == facts()[family.name]


@functools.cache
def facts() -> dict[str, set[tuple[int, int, int | None]]]:
    """Channels, ratio and frames of all headers, by family."""
    found: dict[str, set] = {family.name: set() for family in FAMILIES}
    for name in header_names():
        with contextlib.suppress(UnknownCheckpoint):
            one = detect(header(name)["shapes"])
            found[one.family].add((one.latent_channels, one.spatial_ratio, one.temporal_ratio))
    return found


def test_the_table_of_nodes():
    linked = dict(re.findall(r"^\| \[(.+?)\]\(web/docs/(\w+)\.md\) \|", README, re.MULTILINE))
    assert {node: name for name, node in linked.items()} == NODE_DISPLAY_NAME_MAPPINGS


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
LINKS = re.findall(r"\]\((?!http)([^)#]+)\)", CONTRIBUTING)
NAMED = re.findall(r"`(?:make (\w+)|((?:docs|tests|nodes|vae_core|web|locales|benchmarks)(?:/[\w.]+)+))", CONTRIBUTING)


@pytest.mark.parametrize("path", sorted({*LINKS, *(path for _, path in NAMED if path)}))
def test_what_contributing_names_is_there(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted({name for name, _ in NAMED if name}))
def test_the_makefile_has_what_contributing_names(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_commands_are_those_of_the_command_line():
    listed = set(re.findall(r"^exact-vae (\w+)", README, re.MULTILINE))
    usage = parser().format_help()
    assert listed == set(re.findall(r"^    (\w+)(?: |$)", usage, re.MULTILINE))


def test_every_package_is_installed():
    """setup.py installs the folders with an __init__.py below those it names: a folder without one would be missing."""
    (names,) = re.findall(r"^INSTALLED = \((.*)\)$", (ROOT / "setup.py").read_text(), re.MULTILINE)
    tops = re.findall(r'"(\w+)"', names)
    assert sorted(tops) == ["batch", "cli", "headless", "nodes", "training", "vae_core"]
    folders = {path.parent for top in tops for path in (ROOT / top).rglob("*.py")}
    assert folders and not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_setup_does_not_install_itself(tmp_path):
    """The root of the repository is the package, so setup.py lies where the package's modules do."""
    pytest.importorskip("setuptools")
    command = ["setup.py", "-q", "egg_info", "--egg-base", str(tmp_path), "build_py", "--build-lib", str(tmp_path)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    assert [path.name for path in (tmp_path / "exact_vae").glob("*.py")] == ["__init__.py"]
    assert (tmp_path / "exact_vae" / "vae_core" / "lazy.py").is_file()
