"""Files of VAEs as a menu lists them, wherever the host keeps them."""

from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from ..vae_core import checkpoints
from . import host

PIXEL_SPACE = "pixel_space"
CHECKPOINTS = "checkpoints/"
KINDS = ("vae", "vae_approx", "checkpoints")
ALL = "all files of "  # begins the entries that stand for a whole folder


def list_names() -> list[str]:
    """The entries of the menu. No file is opened."""
    approx, halves = host.files("vae_approx"), {}
    for name in approx:
        halves.setdefault(_stem(name), []).append(name)
    pairs = {stem: both for stem, both in halves.items() if _is_pair(both)}
    paired = {name for both in pairs.values() for name in both}
    alone = [name for name in approx if name not in paired]
    return [
        *host.files("vae"),
        *pairs,
        *alone,
        checkpoints.built_in.NAME,
        PIXEL_SPACE,
        *(CHECKPOINTS + name for name in host.files("checkpoints")),
    ]


def find_paths(name: str) -> Sequence[Path]:
    """The file of an entry of `list_names`; two files for a tiny VAE in two halves."""
    if name == checkpoints.built_in.NAME:
        return [checkpoints.built_in.VAE_FILE]
    if name in host.files("vae"):
        return [host.path("vae", name)]
    if name.startswith(CHECKPOINTS):
        return [host.path("checkpoints", name.removeprefix(CHECKPOINTS))]
    both = [file for file in host.files("vae_approx") if _stem(file) == name]
    return [host.path("vae_approx", file) for file in sorted(both, key=_is_decoder)] or [host.path("vae_approx", name)]


def list_folders() -> list[str]:
    """Entries for whole folders of models, and for those within them that hold weights."""
    return [f"{ALL}{folder}" for kind in KINDS for folder in sorted({*_list_parents(kind)})]


def find_folder(name: str) -> list[Path]:
    """The files of an entry of `list_folders`, at any depth."""
    folder = name.removeprefix(ALL)
    kind = folder.partition("/")[0]
    return [host.path(kind, file) for file in host.files(kind) if f"{kind}/{_as_posix(file)}".startswith(folder)]


def _list_parents(kind: str) -> list[str]:
    """'vae/' and 'vae/sub/' for 'sub/file.safetensors' in 'vae'"""
    ways = [f"{kind}/{_as_posix(name)}".split("/") for name in host.files(kind)]
    return ["/".join(way[:depth]) + "/" for way in ways for depth in range(1, len(way))]


def _as_posix(name: str) -> str:
    """Hosts name files in subfolders with the system's own separator."""
    return PureWindowsPath(name).as_posix()


def _stem(name: str) -> str:
    """'taesd_encoder.pth' or 'taesd_decoder.safetensors' -> 'taesd'"""
    return name.rpartition(".")[0].removesuffix("_encoder").removesuffix("_decoder") or name


def _is_decoder(name: str) -> bool:
    return name.rpartition(".")[0].endswith("_decoder")


def _is_pair(both: list[str]) -> bool:
    return len(both) == 2 and _is_decoder(both[0]) != _is_decoder(both[1])
