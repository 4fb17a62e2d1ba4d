"""The public surface: what vae_core and its packages export, and what their docstrings say of tensors."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
from exact_vae import vae_core

ROOT = Path(__file__).parents[2]
OFFERED = {
    "load", "from_weights", "save", "inspect", "detect", "Detection", "Inspection",
    "VAE", "Posterior", "PixelRows", "Half", "ClipLaw",
    "RunOptions", "Plan", "TilePlan", "Tiles",
    "SPACES", "LatentSpace", "Tag", "convert", "Noise", "fit", "preview", "Factors", "read_latent", "write_latent",
    "VAEError", "UnknownCheckpoint", "UnsupportedCheckpoint", "BrokenCheckpoint", "LatentMismatch", "BadPixels",
    "NumericalOverflow", "BadRequest", "DoesNotFit", "__version__",
    "from_pil", "to_pil", "from_numpy", "to_numpy", "from_uint8", "to_uint8",
}  # fmt: skip
PACKAGES = [one.name for one in pkgutil.iter_modules(vae_core.__path__) if one.ispkg]
SHAPE = re.compile(r"\([\w*' ]+(?:, [\w*' ]+)*,?\)|any shape")  # (B, C, h, w), (B,)


def test_what_the_library_offers():
    assert set(vae_core.__all__) == OFFERED


@pytest.mark.parametrize("name", ["", "errors", *PACKAGES])
def test_a_facade_says_all_it_has(name):
    """What it imports to hand on is in __all__, once, and is there."""
    facade = importlib.import_module(f"{vae_core.__name__}.{name}".rstrip("."))
    assert len(set(facade.__all__)) == len(facade.__all__)
    assert all(hasattr(facade, one) for one in facade.__all__)
    public = {
        one for one, value in vars(facade).items() if not one.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public - {"TYPE_CHECKING"} <= set(facade.__all__)


def test_the_version_is_that_of_the_package():
    stated = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert stated and vae_core.__version__ == stated[1]
    assert (ROOT / "vae_core" / "py.typed").exists()


def public_callables() -> dict[str, tuple[object, bool]]:
    """Functions, and methods and properties of classes, by name; and whether each is called with something."""
    found: dict[str, tuple[object, bool]] = {}
    for name in vae_core.__all__:
        thing = getattr(vae_core, name)
        if inspect.isfunction(thing):
            found[name] = (thing, True)
        elif inspect.isclass(thing):
            for method, value in vars(thing).items():
                value = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
                if isinstance(value, property):
                    found[f"{name}.{method}"] = (value.fget, False)
                elif inspect.isfunction(value):
                    found[f"{name}.{method}"] = (value, True)
    return {name: one for name, one in found.items() if not name.rpartition(".")[2].startswith("_")}


def test_every_public_function_of_tensors_says_shapes_and_errors():
    silent, seen = {}, 0
    for name, (function, is_called) in public_callables().items():
        if not any("Tensor" in str(annotation) for annotation in inspect.get_annotations(function).values()):  # type: ignore[arg-type]
            continue
        seen += 1
        text = inspect.getdoc(function) or ""
        lacks = [] if SHAPE.search(text) else ["a shape"]
        lacks += [] if "aises" in text or not is_called or name == "PixelRows.read" else ["what it raises"]
        if lacks:
            silent[name] = lacks
    assert seen > 12 and not silent


def test_every_error_says_when_it_is_met():
    tree = inspect.getdoc(vae_core.errors) or ""
    for name in vae_core.__all__:
        thing = getattr(vae_core, name)
        if inspect.isclass(thing) and issubclass(thing, vae_core.VAEError):
            assert f" {name} " in tree.replace("\n", " \n "), name
            assert thing is vae_core.VAEError or (thing.__doc__ or "").startswith("You meet it "), name
