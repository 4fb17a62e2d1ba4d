"""What the README and the packaging promise is what there is."""

import contextlib
import functools
import re
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


def test_the_list_of_files_is_that_of_the_families():
    assert readme_tables.write_files(README) == README, "run `python docs/readme_tables.py`"


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


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_commands_are_those_of_the_command_line():
    listed = set(re.findall(r"^exact-vae (\w+)", README, re.MULTILINE))
    usage = parser().format_help()
    assert listed == set(re.findall(r"^    (\w+) ", usage, re.MULTILINE))


def test_every_package_is_installed():
    """setuptools is told each package by name; one that is forgotten is missing after `pip install`."""
    listed = set(re.findall(r'^    "(exact_vae[\w.]*)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    tops = ("cli", "headless", "nodes", "training", "vae_core")
    packages = {p.parent.relative_to(ROOT) for top in tops for p in (ROOT / top).rglob("__init__.py")}
    assert listed == {"exact_vae", *("exact_vae." + ".".join(p.parts) for p in packages)}
