"""What the registry's archive holds, and what it reads of pyproject.toml.

The archive is what git tracks less the patterns of .comfyignore, which are those of .gitignore: one without a leading
slash leaves out folders of its name at any depth.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
NEEDED = ("__init__.py", "pyproject.toml", "README.md", "LICENSE", "assets/*", "web/*.js", "web/**/*.md",
          "locales/*/*.json", "example_workflows/**/*.json", "example_workflows/*.jpg", "subgraphs/*.json",
          "nodes/**/*.py", "vae_core/**/*.py", "headless/*.py", "cli/*.py", "training/*.py")  # fmt: skip
NOT_NEEDED = ("docs/figures", "tests", "benchmarks", "training/results", "training/sources")
SHIPPED = ("assets", "batch", "cli", "example_workflows", "headless", "locales", "nodes", "subgraphs", "training",
           "vae_core", "web")  # fmt: skip
FLAGGED = (
    r"subprocess\.",
    r"urllib\.request",
    r"urlopen\(",
    r"os\.system",
    r"eval\(",
    r"exec\(",
    r"pickle\.loads?\(",
    r"__import__\(",
    "socket\\.socket",
)
SYSTEMS = {"OS Independent", "Microsoft :: Windows", "POSIX :: Linux", "MacOS"}
DEVICES = {"GPU :: NVIDIA CUDA", "GPU :: AMD ROCm", "GPU :: Intel Arc", "GPU :: Apple Metal", "NPU :: Huawei Ascend"}


def left_out() -> list[str]:
    lines = (ROOT / ".comfyignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("pattern", left_out())
def test_a_pattern_stays_at_the_root(pattern):
    assert re.fullmatch(r"/[\w./-]+/", pattern)
    assert (ROOT / pattern.strip("/")).is_dir()


@pytest.mark.parametrize("glob", NEEDED)
def test_what_the_pack_needs_is_in_it(glob):
    folders = tuple(pattern.lstrip("/") for pattern in left_out())
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(glob)]
    assert files and not [name for name in files if name.startswith(folders)]


@pytest.mark.parametrize("name", NOT_NEEDED)
def test_what_it_does_not_need_is_not(name):
    assert f"{name}/".startswith(tuple(pattern.lstrip("/") for pattern in left_out()))


def test_the_project_as_the_registry_reads_it(project):
    about, comfy = project["project"], project["tool"]["comfy"]
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", about["name"]) and len(about["name"]) < 100
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["version"])
    assert about["license"] == "MIT" and about["urls"]["Repository"].startswith("https://github.com/")
    assert re.fullmatch(r"[a-z0-9-]+", comfy["PublisherId"]) and comfy["DisplayName"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    assert "web" not in comfy, "WEB_DIRECTORY is there: the host would list everything twice"


@pytest.mark.parametrize(("key", "ratio", "widest"), [("Icon", 1, 400), ("Banner", 21 / 9, 2100)])
def test_the_registry_s_images_are_there_and_of_its_form(project, key, ratio, widest):
    base = project["project"]["urls"]["Repository"].replace("github.com", "raw.githubusercontent.com") + "/main/"
    url = project["tool"]["comfy"][key]
    assert url.startswith(base)
    with Image.open(ROOT / url.removeprefix(base)) as image:
        assert image.width / image.height == pytest.approx(ratio) and image.width <= widest


@pytest.mark.parametrize(("kind", "known"), [("Operating System :: ", SYSTEMS), ("Environment :: ", DEVICES)])
def test_classifiers_are_known(project, kind, known):
    """A single unknown one empties the registry's whole list."""
    found = {one.removeprefix(kind) for one in project["project"]["classifiers"] if one.startswith(kind)}
    assert found and found <= known


def test_nothing_is_installed_into_the_host():
    """The Manager installs requirements.txt line by line; all that is needed the host has brought."""
    assert not (ROOT / "requirements.txt").exists() and not (ROOT / "install.py").exists()


def list_archive() -> list[Path]:
    """Of the folders that hold the pack; a developer has others beside them."""
    folders = tuple(pattern.strip("/") for pattern in left_out())
    files = [path for top in SHIPPED for path in (ROOT / top).rglob("*") if path.is_file()]
    kept = [path for path in files if not path.relative_to(ROOT).as_posix().startswith(folders)]
    return [ROOT / "__init__.py", *(path for path in kept if "__pycache__" not in path.parts)]


def test_the_archive_is_small():
    """A node pack is fetched by everyone who tries it: 6.2 MB of it are the built-in VAE."""
    assert 6_000_000 < sum(path.stat().st_size for path in list_archive()) < 12_000_000


@pytest.mark.parametrize("word", FLAGGED)
def test_nothing_in_it_alarms_the_registry_s_scanner(word):
    """But for the module that asks a ComfyUI, at the address that the user gives, for its definitions of nodes."""
    called = re.compile(rf"(?<![\w.]){word}")
    code = [path for path in list_archive() if path.suffix == ".py" and path != ROOT / "headless" / "fetching.py"]
    assert not [path.relative_to(ROOT) for path in code if called.search(path.read_text())]
