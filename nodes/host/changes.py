"""What others have changed about a VAE of core's: nodes patch it where it is, and its weights do not show it.

A border that this pack has runs here all the same. Whatever else changes a result is left to the host's own methods.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from torch import nn

from ...vae_core import Detection
from ...vae_core.families import BORDERS, ZEROS, Config, build
from .settings import PADDED, ModuleSettings, Settings, read_settings

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BORDER = "padding_mode"  # of a convolution
METHODS = ("forward", "_conv_forward")  # by which torch's modules and core's are run
COMPARED = {nn.Conv2d: ("stride", "dilation", "groups"), nn.GroupNorm: ("num_groups", "eps")}
PATCHES = ("patches", "object_patches", "weight_wrapper_patches", "hook_patches")  # that wait on the host's patcher


class Change(NamedTuple):
    """what: in words that end a sentence, "'decoder.conv_in' has a forward of its own"."""

    what: str


def find_patch(thing: Any) -> Change | None:
    """What was changed about the VAE around its model: patches of its weights that are not applied yet, methods."""
    if any(getattr(thing.patcher, kind, None) for kind in PATCHES):
        return Change("patches of its weights or modules are waiting")
    replaced = next(_list_replaced_around(thing), None)
    return Change(f"its {replaced} was replaced") if replaced else None


def _list_replaced_around(thing: Any) -> Iterator[str]:
    kind, core = type(thing), type(thing).__mro__[-2]  # core's VAE has no base; it may have heirs of other packs
    for name in ("encode", "decode"):
        if name in vars(thing) or getattr(kind, name) is not getattr(core, name) or _is_foreign(core, name):
            yield name
    yield from (name for name in ("process_input", "process_output") if vars(thing)[name].__module__ != core.__module__)


def adopt_border(model: nn.Module, found: Detection, original: Settings | None = None) -> Detection | Change:
    """The detection of this model's network, with the border that its convolutions were given; or another change.

    original: what the host sets in such a model. Without it, the settings that our network has too are compared.
    """
    if change := next(_list_changes(model, found, original), None):
        return change
    convolutions = {n: m for n, m in model.named_modules() if isinstance(m, CONVOLUTIONS) and _pads(m)}
    if original and all(m.padding_mode == original[n].values[BORDER] for n, m in convolutions.items()):
        return found
    borders = {conv.padding_mode for conv in convolutions.values()} or {ZEROS}
    border = borders.pop()
    if borders or border not in BORDERS or (border != ZEROS and found.clip_law):
        return Change(f"its convolutions have the {BORDER} {', '.join(sorted({border, *borders}))}")
    return replace(found, config=replace(found.config, border=border))  # type: ignore[type-var]


def _pads(conv: Any) -> bool:
    """With another border than zeros, the second is what a convolution adds, whatever `padding` was set to since."""
    return conv.padding == "same" or any(conv.padding) or any(getattr(conv, PADDED))


def _list_changes(model: nn.Module, found: Detection, original: Settings | None) -> Iterator[Change]:
    for name, module in model.named_modules():
        where = f"'{name}'" if name else "it"
        for method in _list_replaced(module):
            yield Change(f"{where} has a method {method} of its own")
        if module._forward_hooks or module._forward_pre_hooks:
            yield Change(f"{where} has a hook")
        if getattr(module, "weight_function", None) or getattr(module, "bias_function", None):
            yield Change(f"the weights of {where} are patched at every call")
    yield from _list_settings(model, found) if original is None else _list_differences(read_settings(model), original)


def _list_replaced(module: nn.Module) -> Iterator[str]:
    """Methods that the module has in stead of its class's, and such that its class was given by somebody else."""
    kind = type(module)
    yield from (name for name, value in vars(module).items() if callable(value) and callable(getattr(kind, name, None)))
    yield from (name for name in METHODS if _is_foreign(kind, name))


@lru_cache(maxsize=256)
def _is_foreign(kind: type, method: str) -> bool:
    """Was the method written elsewhere than the class whose it is?"""
    owner = next((one for one in kind.__mro__ if method in vars(one)), None)
    return owner is not None and getattr(vars(owner)[method], "__module__", None) != owner.__module__


def _list_differences(settings: Settings, original: Settings) -> Iterator[Change]:
    """Modules that are others than the host's, and what they are set to."""
    for name in original.keys() ^ settings.keys():
        yield Change(f"its module '{name}' was {'added' if name in settings else 'removed'}")
    for name in original.keys() & settings.keys():
        if (kind := settings[name].kind) is not original[name].kind:
            yield Change(f"'{name}' is a {kind.__name__} instead of a {original[name].kind.__name__}")
        yield from _list_values(f"'{name}'" if name else "it", settings[name], original[name])


def _list_values(where: str, settings: ModuleSettings, original: ModuleSettings) -> Iterator[Change]:
    for one, value in original.values.items():
        if settings.values.get(one) != value and not (one == BORDER and issubclass(settings.kind, CONVOLUTIONS)):
            yield Change(f"{where} has the {one} {settings.values.get(one)} instead of {value}")


def _list_settings(model: nn.Module, found: Detection) -> Iterator[Change]:
    """Settings of convolutions and norms that are not those of the network that the weights are of."""
    for owner, (kind, ours) in _read_ours(found.family, found.config).items():
        name = found.names[f"{owner}.weight"].rpartition(".")[0]
        theirs = model.get_submodule(name)
        for one, value in ours.items() if isinstance(theirs, kind) else ():
            if getattr(theirs, one) != value:
                yield Change(f"'{name}' has the {one} {getattr(theirs, one)} instead of {value}")


@lru_cache(maxsize=8)
def _read_ours(family: str, config: Config) -> Mapping[str, tuple[type, Mapping[str, Any]]]:
    """Of each of our convolutions and norms, by reference name: its kind, and its settings."""
    found = {}
    for owner, module in build(family, config).named_modules():
        kind = next((kind for kind in COMPARED if isinstance(module, kind)), None)
        if kind and getattr(module, "weight", None) is not None:
            found[owner] = kind, {one: getattr(module, one) for one in COMPARED[kind]}
    return found
