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

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
SETTINGS = {nn.Conv2d: ("stride", "dilation", "groups"), nn.GroupNorm: ("num_groups", "eps")}


class Change(NamedTuple):
    """what: in words that end a sentence, "its convolution 'decoder.conv_in' has a forward of its own"."""

    what: str


def adopt_border(model: nn.Module, found: Detection) -> Detection | Change:
    """The detection of this model's network, with the border that its convolutions were given; or another change."""
    if change := next(_list_changes(model, found), None):
        return change
    borders = {m.padding_mode for m in model.modules() if isinstance(m, CONVOLUTIONS) and _pads(m)} or {ZEROS}
    border = borders.pop()
    if borders or border not in BORDERS or (border != ZEROS and found.clip_law):
        return Change(f"its convolutions have the padding_mode {', '.join(sorted({border, *borders}))}")
    return replace(found, config=replace(found.config, border=border))  # type: ignore[type-var]


def _pads(conv: Any) -> bool:
    return conv.padding == "same" or any(conv.padding)


def _list_changes(model: nn.Module, found: Detection) -> Iterator[Change]:
    for method in ("encode", "decode", "forward"):
        if method in vars(model):
            yield Change(f"its {method} was replaced")
    for name, module in model.named_modules():
        if "forward" in vars(module):
            yield Change(f"'{name}' has a forward of its own")
        if module._forward_hooks or module._forward_pre_hooks:
            yield Change(f"'{name}' has a hook")
        if getattr(module, "weight_function", None) or getattr(module, "bias_function", None):
            yield Change(f"the weights of '{name}' are patched at every call")
    yield from _list_settings(model, found)


def _list_settings(model: nn.Module, found: Detection) -> Iterator[Change]:
    """Settings of convolutions and norms that are not those of the network that the weights are of."""
    for owner, (kind, ours) in _read_settings(found.family, found.config).items():
        name = found.names[f"{owner}.weight"].rpartition(".")[0]
        theirs = model.get_submodule(name)
        for one, value in ours.items() if isinstance(theirs, kind) else ():
            if getattr(theirs, one) != value:
                yield Change(f"'{name}' has the {one} {getattr(theirs, one)} instead of {value}")


@lru_cache(maxsize=8)
def _read_settings(family: str, config: Config) -> Mapping[str, tuple[type, Mapping[str, Any]]]:
    """Of each of our convolutions and norms, by reference name: its kind, and its settings."""
    found = {}
    for owner, module in build(family, config).named_modules():
        kind = next((kind for kind in SETTINGS if isinstance(module, kind)), None)
        if kind and getattr(module, "weight", None) is not None:
            found[owner] = kind, {one: getattr(module, one) for one in SETTINGS[kind]}
    return found
