"""What the modules of a VAE of core's are set to beside their weights, and what core sets when it makes such a VAE."""

# pyright: reportMissingImports=false

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

log = logging.getLogger("exact_vae")

SCALARS = (bool, int, float, str, type(None))
# What the host notes on its modules: on the model, how much of it is loaded and what its weights were patched with; on
# those of SeedVR2's VAE, what the last run may take.
OF_LOADING = ("model_", "current_", "lowvram_")
OF_RUNS = ("memory_limit", "logged_once")
PADDED = "_reversed_padding_repeated_twice"  # of torch's convolutions: what is added where the border is not zeros
UNREADABLE = object()


class ModuleSettings(NamedTuple):
    kind: type
    values: Mapping[str, Any]  # by the attribute's name; a function stands for itself by its full name


Settings = Mapping[str, ModuleSettings]  # by the module's name


def read_settings(model: nn.Module) -> Settings:
    """The class of each module, and those of its attributes that are plain values or functions."""
    found = {name: ModuleSettings(type(module), _read(module)) for name, module in model.named_modules()}
    values = {name: value for name, value in found[""].values.items() if not name.startswith(OF_LOADING)}
    return {**found, "": found[""]._replace(values=values)}


def _read(module: nn.Module) -> dict[str, Any]:
    names = (name for name in vars(module) if name == PADDED or not (name.startswith("_") or name in OF_RUNS))
    readable = {name: _plain(vars(module)[name]) for name in names}
    return {name: value for name, value in readable.items() if value is not UNREADABLE}


def _plain(value: Any) -> Any:
    """The value as one that can be compared; UNREADABLE if it is a tensor, or has one in it."""
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, list | tuple):
        inside = tuple(map(_plain, value))
        return UNREADABLE if UNREADABLE in inside else inside
    if isinstance(value, partial):
        return _plain((value.func, value.args, tuple(value.keywords.items())))
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else UNREADABLE


def read_original(weights: Mapping[str, Tensor], dtype: torch.dtype) -> Settings | None:
    """The settings of a VAE that core makes for such weights; None if it makes none without the numbers.

    It is made on the meta device: a few tenths of a second, no memory.
    """
    shapes = {name: torch.empty_like(t, device="meta") for name, t in weights.items()}
    try:
        from comfy.sd import VAE

        with torch.device("meta"), _in_silence():
            made = VAE(sd=shapes, device=torch.device("cpu"), dtype=dtype)
        return read_settings(made.first_stage_model)
    except Exception as e:  # some read a number of a weight or of the file's metadata, which are not here
        log.debug("ComfyUI makes no VAE without numbers, so what was changed of it is found less well: %s", e)
        return None


@contextmanager
def _in_silence() -> Iterator[None]:
    """The host logs each VAE that it makes, by the root logger: of this thread's nothing is shown meanwhile."""
    mine, root = get_ident(), logging.getLogger()

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != mine

    root.addFilter(is_of_others)
    try:
        yield
    finally:
        root.removeFilter(is_of_others)
