"""A VAE to a file: the way back from reference names to those of a layout.

original    the names of the authors' files: CompVis and Black Forest Labs (`ldm`); `taesd_...` of tiny VAEs, both
            halves in one file; Stable Cascade's `codebook` and `previewer`
diffusers   those of a diffusers folder's file
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .errors import BadRequest
from .families.base import count
from .renaming import renamed, rules
from .vae import VAE
from .writing import published

Weights = Mapping[str, Tensor]
Rename = Callable[[Weights], dict[str, str]]  # weights under reference names -> reference name to the layout's
ORIGINAL, DIFFUSERS = LAYOUTS = ("original", "diffusers")


def save(vae: VAE, path: str | Path, layout: str = ORIGINAL, dtype: torch.dtype | None = None) -> None:
    """Write its weights as safetensors. dtype: None, what they are in; statistics of a latent space keep fp32.

    Raises BadRequest for a layout that its family does not have, and if the file cannot be written.
    """
    exact = {name for name, _ in vae.network.named_buffers()}
    tensors = {
        name: (t.to("cpu", t.dtype if reference in exact else dtype or t.dtype)).clone(
            memory_format=torch.contiguous_format
        )
        for reference, name, t in _renamed(vae, layout)
    }
    with published(Path(path)) as part:
        save_file(tensors, part, metadata={"format": "pt"})  # diffusers asks for the format


def weights_as(vae: VAE, layout: str = ORIGINAL) -> dict[str, Tensor]:
    """Its weights under the names, and in the shapes, of a layout; not copied. Raises BadRequest."""
    return {name: t for _, name, t in _renamed(vae, layout)}


def layouts_of(family: str) -> tuple[str, ...]:
    return tuple(layout for layout in LAYOUTS if (family, layout) in _WAYS)


def _renamed(vae: VAE, layout: str) -> list[tuple[str, str, Tensor]]:
    """(reference name, the layout's, the tensor in its shape)"""
    known = layouts_of(vae.family)
    if layout not in known:
        can = f"choose {' or '.join(known)}" if known else "it cannot be saved"
        raise BadRequest(f"'{vae.name}' is {vae.title}, which has no layout '{layout}': {can}.")
    weights = vae.network.state_dict()
    names = _WAYS[vae.family, layout](weights)
    linear = layout == DIFFUSERS and vae.family in _LINEAR_ATTENTION
    return [(old, names[old], _linear(t) if linear and _IS_ATTENTION.search(old) else t) for old, t in weights.items()]


def _linear(t: Tensor) -> Tensor:
    """Attention's 1x1 convolutions (C, C, 1, 1) as diffusers holds them: (C, C)."""
    return t.flatten(1) if t.ndim == 4 else t


def _same(weights: Weights) -> dict[str, str]:
    return {name: name for name in weights}


def _taesd(weights: Weights) -> dict[str, str]:
    return {n: f"taesd_{n}" if n.startswith(("encoder.", "decoder.")) else n for n in weights}


def _codebook(weights: Weights) -> dict[str, str]:
    return {n: re.sub(r"^vquantizer\.embedding\.", "vquantizer.codebook.", n) for n in weights}


def _previewer(weights: Weights) -> dict[str, str]:
    return {n: re.sub(r"^decoder\.", "previewer.", n) for n in weights}


def _tiny_diffusers(weights: Weights) -> dict[str, str]:
    """diffusers does not count the decoder's clamp, so its layers are one behind."""

    def number(match: re.Match) -> str:
        return f"{match[1]}.layers.{int(match[2]) - (match[1] == 'decoder')}."

    return {n: re.sub(r"^(encoder|decoder)\.(\d+)\.", number, n) for n in weights}


def _diffusers(weights: Weights) -> dict[str, str]:
    top = count({name: tuple(t.shape) for name, t in weights.items()}, "decoder.up.") - 1

    def turn(match: re.Match) -> str:
        return f"decoder.up_blocks.{top - int(match[1])}."  # diffusers counts from the lowest resolution

    return {n: re.sub(r"^decoder\.up\.(\d+)\.", turn, renamed(n, _TO_DIFFUSERS)) for n in weights}


def _flat_diffusers(weights: Weights) -> dict[str, str]:
    """Blocks and resampling numbered in one row, in the order they run."""
    places: dict[str, str] = {}
    for side, row in (("encoder.down.", "encoder.down_blocks."), ("decoder.up.", "decoder.up_blocks.")):
        found = [re.match(rf"{re.escape(side)}(\d+)\.(block\.\d+|(?:down|up)sample)\.", n) for n in weights]
        steps = {(int(m[1]), "sample" in m[2], m[2]): m[0] for m in found if m}
        places |= {steps[key]: f"{row}{i}." for i, key in enumerate(sorted(steps, key=_in_order))}

    def place(match: re.Match) -> str:
        return places[match[0]]

    resampled = r"^(?:encoder\.down|decoder\.up)\.\d+\.(?:block\.\d+|(?:down|up)sample)\."
    return {n: renamed(re.sub(resampled, place, n), _TO_FLAT) for n in weights}


def _in_order(step: tuple[int, bool, str]) -> tuple[int, bool, int]:
    level, resamples, what = step
    return level, resamples, int(what.rpartition(".")[2]) if not resamples else 0


_IS_ATTENTION = re.compile(r"\.attn(?:_1|\.\d+)?\.(?:q|k|v|proj_out|to_(?:q|k|v|out))\.weight$")
_LINEAR_ATTENTION = ("kl", "asymmetric", "vq", "dc_ae")
_ATTN = r"(\.attn(?:_1|\.\d+))\."
_MIDDLE = (
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
)
_TO_DIFFUSERS = rules(
    (_ATTN + r"norm\.(?=norm_layer|conv_[yb])", r"\1.spatial_norm."),
    (_ATTN + r"norm\.", r"\1.group_norm."),
    (_ATTN + r"([qkv])\.", r"\1.to_\2."),
    (_ATTN + r"proj_out\.", r"\1.to_out.0."),
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"\.upsample\.conv\.", ".upsamplers.0.conv."),
    (r"\.downsample\.conv\.", ".downsamplers.0.conv."),
    *_MIDDLE,
    (r"\.attn\.(\d+)\.", r".attentions.\1."),
    (r"\.block\.(\d+)\.", r".resnets.\1."),
    (r"^decoder\.encoder\.", "decoder.condition_encoder."),
    (r"^encoder\.down\.(\d+)\.", r"encoder.down_blocks.\1."),
)
_TO_FLAT = rules((_ATTN + r"([qkv])\.", r"\1.to_\2."), (_ATTN + r"proj_out\.", r"\1.proj."), *_MIDDLE)

_WAYS: Mapping[tuple[str, str], Rename] = {
    ("kl", ORIGINAL): _same,
    ("kl", DIFFUSERS): _diffusers,
    ("asymmetric", ORIGINAL): _same,
    ("asymmetric", DIFFUSERS): _diffusers,
    ("vq", ORIGINAL): _same,
    ("vq", DIFFUSERS): _diffusers,
    ("hunyuan_image", ORIGINAL): _same,
    ("hunyuan_image", DIFFUSERS): _flat_diffusers,
    ("tiny", ORIGINAL): _taesd,
    ("tiny", DIFFUSERS): _tiny_diffusers,
    ("dc_ae", DIFFUSERS): _same,
    ("wan", ORIGINAL): _same,
    ("paella", ORIGINAL): _codebook,
    ("paella", DIFFUSERS): _same,
    ("effnet", ORIGINAL): _previewer,
}
