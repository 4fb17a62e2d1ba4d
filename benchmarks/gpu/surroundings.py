"""Makes a bare machine ready: the pack by its name, and diffusers from a wheel if it is not installed."""

import importlib.util
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
VISIBLE = "CUDA_VISIBLE_DEVICES"  # in the environment: numbers or names of cards


def find_pack() -> None:
    """`import exact_vae` works afterwards, here and in processes that are started, also where it is not installed."""
    if importlib.util.find_spec("exact_vae") is None:
        place = tempfile.mkdtemp()
        stub = Path(place, "exact_vae", "__init__.py")  # and no link: Windows refuses those to most users
        stub.parent.mkdir()
        stub.write_text(f"__path__ = [{str(ROOT)!r}]\n", encoding="utf-8")
        add_path(place)


def unpack_wheels(wheels: Iterable[Path]) -> None:
    """Packages of these wheels, or of the folders of wheels or packages, can be imported afterwards."""
    for path in wheels:
        files = [path] if path.is_file() else sorted(path.glob("*.whl"))
        place = tempfile.mkdtemp() if files else str(path)
        for file in files:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(place)
        add_path(place)


def add_path(place: str) -> None:
    """Look for packages here first; processes that are started do so too."""
    sys.path.insert(0, place)
    os.environ["PYTHONPATH"] = os.pathsep.join([place, *filter(None, [os.environ.get("PYTHONPATH")])])
    importlib.invalidate_caches()


def import_diffusers(*classes: str) -> ModuleType:
    """diffusers, and the modules of these classes, which it reads when they are asked for.

    Raises ImportError where it is not, AttributeError if it has no such class.
    """
    diffusers = importlib.import_module("diffusers")
    for name in classes:
        getattr(diffusers, name)
    return diffusers


def let_forks_use_cuda() -> None:
    """Questions whether there is CUDA are answered without starting it, for processes that are forked may not, then."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")


def show_one_card(device: str) -> str:
    """'cuda:1' -> 'cuda', and from here on that card is the only one: counts of torch are those of the first card.

    Before CUDA is started. Any other device is given back as it is.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda" or not index:
        return device
    seen = os.environ.get(VISIBLE, "")
    os.environ[VISIBLE] = seen.split(",")[int(index)] if seen else index
    return kind
