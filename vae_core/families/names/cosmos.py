"""Names of Cosmos' tokenizer: NVIDIA's are the reference, without what wraps convolutions and norms."""

import re
from collections.abc import Iterable
from typing import Any

import torch

from ...latents.statistics import COSMOS_MEAN, COSMOS_STD
from ..shapes import Shapes
from .diffusers import turn
from .layout import DIFFUSERS, ORIGINAL, Layout, Names, Weights, keep_names
from .rules import both_ways

_STATISTICS = {"latent_mean": COSMOS_MEAN, "latent_std": COSMOS_STD}
_PAIRS = both_ways(
    ("^encoder.down_blocks.#.", "^encoder.down.#."),
    (".mid_block.resnets.0.", ".mid.block_1."),
    (".mid_block.resnets.1.", ".mid.block_2."),
    (".mid_block.attentions.0.", ".mid.attn_1.0."),
    (".mid_block.temp_attentions.0.", ".mid.attn_1.1."),
    (".resnets.#.", ".block.#."),
    (".downsamplers.0.", ".downsample."),
    (".upsamplers.0.", ".upsample."),
    (".conv_shortcut.", ".nin_shortcut."),
    (".to_q.", ".q."),
    (".to_k.", ".k."),
    (".to_v.", ".v."),
    (".to_out.0.", ".proj_out."),
)
_IS_NORM = re.compile(r"(?:^|\.)norm\w*\.\w+$")


def is_original(own: Shapes) -> bool:
    return any(".conv_in.0.conv3d." in name for name in own)


def from_original(own: Shapes) -> Names:
    return {name: _unwrap(name) for name in own}


def to_original(names: Iterable[str], config: Any = None) -> Names:
    return {name: _wrap(name) for name in names}


def is_diffusers(own: Shapes) -> bool:
    return any(".conv_in.conv_s." in name for name in own) and any("_blocks." in name for name in own)


def from_diffusers(own: Shapes) -> Names:
    turned = turn(own, "decoder.up_blocks.", "decoder.up.")
    return {name: _PAIRS.read(_strip_norm(turned[name])) for name in own}


def to_diffusers(names: Iterable[str], config: Any = None) -> Names:
    turned = turn(names := list(names), "decoder.up.", "decoder.up_blocks.")
    return {name: _PAIRS.write(_add_norm(turned[name])) for name in names}


def is_reference(own: Shapes) -> bool:
    return any(".conv_in.conv_s." in name for name in own) and not is_diffusers(own)


def hold_statistics(weights: Weights, config: Any) -> Weights:
    """NVIDIA's files hold those of latents, and constants of the Haar transform by which programs know the file."""
    known = {name: torch.tensor(numbers) for name, numbers in _STATISTICS.items()}
    haar = {"wavelets": torch.full((2,), 0.5).sqrt(), "_arange": torch.arange(2)}
    patch = {"encoder.patcher3d.patch_size_buffer": torch.tensor([config.patch])} if config.encoder else {}
    own = [place for place in ("encoder.patcher3d", "decoder.unpatcher3d") if vars(config)[place[:7]]]
    constants = {f"{place}.{name}": t for place in own for name, t in haar.items()}
    return {**known, **weights, **patch, **constants}


def hold_weights(weights: Weights, config: Any) -> Weights:
    return {name: t for name, t in weights.items() if name not in _STATISTICS}


def _unwrap(name: str) -> str:
    name = re.sub(r"\.([01])\.conv3d\.", lambda found: f".conv_{'st'[int(found[1])]}.", name)
    return _strip_norm(name.replace(".conv3d.", "."))


def _wrap(name: str) -> str:
    if not name.endswith((".weight", ".bias")):
        return name
    if _IS_NORM.search(name):
        return _add_norm(name)
    name = re.sub(r"\.conv_([st])\.(?=\w+$)", lambda found: f".{'st'.index(found[1])}.conv3d.", name)
    return name if ".conv3d." in name else re.sub(r"\.(?=\w+$)", ".conv3d.", name)


def _strip_norm(name: str) -> str:
    return re.sub(r"\.norm\.(?=\w+$)", ".", name) if re.search(r"norm\w*\.norm\.\w+$", name) else name


def _add_norm(name: str) -> str:
    return re.sub(r"\.(?=\w+$)", ".norm.", name) if _IS_NORM.search(name) else name


COSMOS = Layout(ORIGINAL, is_original, from_original, to_original, held=hold_statistics, attention=5)
COSMOS_DIFFUSERS = Layout(DIFFUSERS, is_diffusers, from_diffusers, to_diffusers, held=hold_weights, attention=5)
REFERENCE = Layout(ORIGINAL, is_reference, keep_names)  # no file is written so
