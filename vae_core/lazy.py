"""Facades that read a module when one of its names is first asked for. So importing the pack reads very little.

A facade (the `__init__.py` of a package) imports its names for type checkers, and tells programs where they are:

    if TYPE_CHECKING:
        from .tag import Tag
    else:
        __getattr__, __dir__ = lazy.offer(__name__, {"tag": "Tag"})

`from .latents import Tag` and `latents.Tag` read tag.py; `from . import latents` does not. A test compares both lists.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def offer(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of a facade, which Python calls for names that it lacks (PEP 562).

    modules: the names that each module of the package gives, separated by spaces. A module may give itself.
    """
    homes = {name: module for module, names in modules.items() for name in names.split()}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = import_module(f"{package}.{homes[name]}")
        if name != homes[name].rpartition(".")[2]:
            found = getattr(found, name)
        setattr(sys.modules[package], name, found)  # from now on Python finds it there
        return found

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return find, list_names
