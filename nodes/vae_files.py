"""Files of VAEs as a menu lists them, wherever the host keeps them."""

from collections.abc import Sequence
from pathlib import Path

from ..vae_core import checkpoints
from . import host

PIXEL_SPACE = "pixel_space"
CHECKPOINTS = "checkpoints/"


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


def _stem(name: str) -> str:
    """'taesd_encoder.pth' or 'taesd_decoder.safetensors' -> 'taesd'"""
    return name.rpartition(".")[0].removesuffix("_encoder").removesuffix("_decoder") or name


def _is_decoder(name: str) -> bool:
    return name.rpartition(".")[0].endswith("_decoder")


def _is_pair(both: list[str]) -> bool:
    return len(both) == 2 and _is_decoder(both[0]) != _is_decoder(both[1])
