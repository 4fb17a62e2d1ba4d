"""What others have changed about a VAE of core's: nodes patch it where it is, and its weights do not show it.

A border that this pack has runs here all the same. Whatever else changes a result is left to the host's own methods.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from ...vae_core import Detection
from ...vae_core.families import BORDERS, ZEROS, build

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
    network = build(found.family, found.config)
    for new, old in found.names.items():
        (owner, _, tensor), (name, _, _) = new.rpartition("."), old.rpartition(".")
        if tensor != "weight":
            continue
        ours, theirs = network.get_submodule(owner), model.get_submodule(name)
        settings = next(
            (SETTINGS[kind] for kind in SETTINGS if isinstance(ours, kind) and isinstance(theirs, kind)), ()
        )
        for one in settings:
            if getattr(ours, one) != getattr(theirs, one):
                yield Change(f"'{name}' has the {one} {getattr(theirs, one)} instead of {getattr(ours, one)}")
