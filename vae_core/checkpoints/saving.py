"""A VAE to a file: the way back from reference names to those of a layout.

original    the names of the authors' files: CompVis and Black Forest Labs (`ldm`); `taesd_...` of
            tiny VAEs, both halves in one file; EfficientViT's; Stable Cascade's `codebook` and `previewer`
diffusers   those of a diffusers folder's file

What a layout calls the same tensors stands in layouts.py and beside it. What it holds otherwise stands here.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import BadRequest
from ..families.names import dc_ae, layouts, wan
from ..families.names import diffusers as kin
from ..files.atomic import write_atomically
from ..vae import VAE

Weights = Mapping[str, Tensor]
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
        for reference, name, t in _written(vae, layout)
    }
    with write_atomically(Path(path)) as part:
        save_file(tensors, part, metadata={"format": "pt"})  # diffusers asks for the format


def weights_as(vae: VAE, layout: str = ORIGINAL) -> dict[str, Tensor]:
    """Its weights under the names, and in the shapes, of a layout; copied only if it joins some. Raises BadRequest."""
    return {name: t for _, name, t in _written(vae, layout)}


def layouts_of(family: str) -> tuple[str, ...]:
    return tuple(layout for layout in LAYOUTS if (family, layout) in _WAYS)


class Way(NamedTuple):
    """How a layout says what a family holds. Weights and names are the reference's.

    names      reference names and config -> reference name to the layout's
    attention  dimensions of the weights of attention's 1x1 convolutions
    held       weights and config -> the tensors that the layout holds
    """

    names: Callable[[list[str], Any], dict[str, str]]
    attention: int = 4
    held: Callable[[Weights, Any], Weights] = lambda weights, config: weights


def _written(vae: VAE, layout: str) -> Iterator[tuple[str, str, Tensor]]:
    """(reference name, the layout's, the tensor in its shape)"""
    known = layouts_of(vae.family)
    if layout not in known:
        raise BadRequest(f"'{vae.name}' is {vae.title}, which has no layout '{layout}': choose {' or '.join(known)}.")
    way = _WAYS[vae.family, layout]
    weights = way.held(vae.network.state_dict(), vae.config)
    names = way.names(list(weights), vae.config)
    for reference, t in weights.items():
        yield reference, names[reference], _in_dimensions(t, way.attention) if _ATTENTION.search(reference) else t


def _in_dimensions(t: Tensor, dimensions: int) -> Tensor:
    """(C, C, 1, 1) as a linear layer's (C, C), or as a convolution's over one frame, (C, C, 1, 1, 1)."""
    return t.reshape(*t.shape[:2], *(1,) * (dimensions - 2))


_ATTENTION = re.compile(r"\.attn(?:_1|\.\d+)?\.(?:q|k|v|proj_out|to_(?:q|k|v|out))\.weight$")


def _same(names: list[str], config: Any) -> dict[str, str]:
    return {name: name for name in names}


def _by(rename: Callable[[list[str]], dict[str, str]]) -> Callable[[list[str], Any], dict[str, str]]:
    return lambda names, config: rename(names)


def _taesd(names: list[str], config: Any) -> dict[str, str]:
    return {n: f"taesd_{n}" if n.startswith(("encoder.", "decoder.")) else n for n in names}


def _frames_of_one_tap(weights: Weights, config: Any) -> Weights:
    """diffusers holds no convolutions over frames if none sees another frame (Qwen-Image-2.1)."""
    taps = {t.shape[2] for t in weights.values() if t.ndim == 5}
    return {n: wan.without_time(t) for n, t in weights.items()} if taps == {1} else weights


def _quant_conv_inside(weights: Weights, config: Any) -> Weights:
    """SVD's authors have none: one 1x1 convolution after another, 3x3, is a 3x3 convolution."""
    if "quant_conv.weight" not in weights:
        return weights
    of = {name: weights[name].double() for name in ("quant_conv.weight", "quant_conv.bias", *_LAST)}
    mix = of["quant_conv.weight"].flatten(1)
    folded = {
        _LAST[0]: torch.einsum("oc,cikl->oikl", mix, of[_LAST[0]]),
        _LAST[1]: mix @ of[_LAST[1]] + of["quant_conv.bias"],
    }
    kept = {name: t for name, t in weights.items() if not name.startswith("quant_conv.")}
    return kept | {name: t.to(weights[name].dtype) for name, t in folded.items()}


def _quant_conv_beside(weights: Weights, config: Any) -> Weights:
    """diffusers' SVD always has one: where there is none, one that changes nothing."""
    if _LAST[0] not in weights or "quant_conv.weight" in weights:
        return weights
    bias = weights[_LAST[1]]
    same = torch.eye(len(bias), dtype=bias.dtype, device=bias.device)[..., None, None]
    return {**weights, "quant_conv.weight": same, "quant_conv.bias": torch.zeros_like(bias)}


_LAST = ("encoder.conv_out.weight", "encoder.conv_out.bias")

_WAYS: Mapping[tuple[str, str], Way] = {
    **{(family, ORIGINAL): Way(_same) for family in ("kl", "asymmetric", "vq", "hunyuan_image", "wan", "pixel")},
    **{(family, ORIGINAL): Way(_same, 5) for family in ("hunyuan_video", "hunyuan_video_15", "hunyuan_image_3")},
    **{(family, DIFFUSERS): Way(_by(kin.to_turned), 2) for family in ("kl", "asymmetric", "vq", "hunyuan_video")},
    ("svd", ORIGINAL): Way(_same, held=_quant_conv_inside),
    ("svd", DIFFUSERS): Way(_by(kin.to_turned_in_time), 2, _quant_conv_beside),
    ("hunyuan_image", DIFFUSERS): Way(_by(kin.to_row)),
    ("hunyuan_video_15", DIFFUSERS): Way(_by(kin.to_straight), 5),
    ("dc_ae", ORIGINAL): Way(dc_ae.to_original, held=lambda weights, config: dc_ae.joined(weights)),
    ("dc_ae", DIFFUSERS): Way(_same, 2, held=lambda weights, config: dc_ae.split(weights)),
    ("wan", DIFFUSERS): Way(_by(wan.to_diffusers), held=_frames_of_one_tap),
    ("tiny", ORIGINAL): Way(_taesd),
    ("tiny", DIFFUSERS): Way(_by(layouts.to_tiny_diffusers)),
    ("tiny_video", ORIGINAL): Way(_same),
    ("paella", ORIGINAL): Way(_by(layouts.to_cascade)),
    ("paella", DIFFUSERS): Way(_same),
    ("effnet", ORIGINAL): Way(_by(layouts.to_cascade)),
}
