"""What GitHub reads of the repository: workflows, issue templates, the changelog, the index of docs/."""

import re
from pathlib import Path

import pytest
from exact_vae.vae_core import __version__

ROOT = Path(__file__).parents[1]
TEMPLATES = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def text(path: str) -> str:
    return (ROOT / path).read_text()


@pytest.mark.parametrize("path", [*TEMPLATES, *WORKFLOWS], ids=lambda path: path.name)
def test_it_is_yaml_with_what_github_asks_for(path):
    yaml = pytest.importorskip("yaml")
    read = yaml.safe_load(path.read_text())
    needed = {"name", "description", "body"} if path in TEMPLATES else {"name", "jobs", "permissions"}
    assert needed <= read.keys()


def test_every_template_asks_for_the_environment():
    assert len(TEMPLATES) == 2
    for path in TEMPLATES:
        assert re.search(r"id: env\n.*exact-vae env.*required: true", path.read_text(), re.DOTALL), path.name


def test_the_tests_run_on_every_python_that_is_promised():
    promised = re.findall(r"Python :: (3\.\d+)", text("pyproject.toml"))
    run = re.search(r"python: \[(.*)\]", text(".github/workflows/tests.yml"))
    assert run and re.findall(r'"(.*?)"', run[1]) == promised


def test_a_tag_that_is_not_the_version_is_not_published():
    workflow = text(".github/workflows/publish.yml")
    assert 'version = \\"${GITHUB_REF_NAME#v}\\"' in workflow and workflow.count("needs: check") == 2
    assert f'\nversion = "{__version__}"\n' in text("pyproject.toml")


def test_the_changelog_begins_with_this_version():
    newest = re.search(r"^## (\S+?),? ", text("CHANGELOG.md"), re.MULTILINE)
    assert newest and newest[1] == __version__


def test_the_index_of_docs_lists_every_page():
    linked = set(re.findall(r"\]\(([\w/.]+?)(?:#.*?)?\)", text("docs/README.md")))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= linked
    assert not [link for link in linked if not (ROOT / "docs" / link).exists()]


def test_the_oldest_comfyui_that_is_promised_is_in_the_table_of_those_it_was_run_in():
    promised = re.search(r'requires-comfyui = ">=(.+?)"', text("pyproject.toml"))
    listed = re.findall(r"^\| (\d+\.\d+\.\d+)", text("CONTRIBUTING.md"), re.MULTILINE)
    assert promised and promised[1] == listed[0]
