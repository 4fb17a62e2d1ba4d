"""The names tensors have in files, mapped to the one set of names each family uses.

A *prefix* is what a full checkpoint puts before the VAE's names. A *layout* is a way of naming the same tensors:

    ldm                 CompVis, and Black Forest Labs (who keep FLUX.2's quant convs inside the halves)
    diffusers           up_blocks counted from the lowest resolution, attention as Linear
                        (DC-AE: blocks numbered within up_blocks, which are counted from the highest)
                        (HunyuanImage: blocks and resampling numbered in one row, in the order they run)
    diffusers-legacy    the same, attention called query, key, value, proj_attn
    original            its authors' names: DC-AE's stages, op_list, context_module; Wan's downsamples and upsamples;
                        Stable Cascade's `codebook` and `previewer`
    module              taesd.py's own module: encoder.N, decoder.N
    taesd               the same halves in one file as taesd_encoder.N, taesd_decoder.N, perhaps with their scale
    pixel               the one mark of a pixel-space codec
    encoder, decoder    one half, its names bare

Only names and shapes are looked at, never a tensor, a dtype or a file name.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from ..blocks.base import Shapes
from . import dc_ae, wan
from . import diffusers as kin
from .rules import both_ways

PREFIXES = ("", "first_stage_model.", "vae.", "model.", "first_stage.", "autoencoder.", "module.", "_orig_mod.")

# What a file may hold beside the network, and nothing reads: losses and averages of training, counters of batch norms,
# projections of a diffusion step, and what a diffusion model does to latents, which are raw here. Any other surplus
# tensor is refused.
LEFTOVERS = re.compile(
    r"(loss|model_ema|discriminator|perceptual_loss)\.|(logvar|global_step)$"
    r"|(scale_factor|scaling_factor|shift_factor|latents_mean|latents_std)$"
    r"|(.+\.)?num_batches_tracked$|(encoder|decoder)\.mid\.block_\d\.temb_proj\."
)
OUTSIDE = ("bn.", "quant_conv.", "post_quant_conv.", "quantize.")  # what is not inside either half


LINEAR = re.compile(r"\.(q|k|v|proj_out|to_q|to_k|to_v|to_out)\.weight$")

Rename = Callable[[Shapes], dict[str, str]]  # the file's names (without prefix) -> reference names


class Naming(NamedTuple):
    """One reading of a file: `names` leads from reference names to the file's, `shapes` is under reference names."""

    prefix: str
    layout: str
    shapes: dict[str, tuple[int, ...]]
    names: dict[str, str]


def namings(shapes: Shapes) -> Iterator[Naming]:
    """Every reading of these names: each prefix that occurs, in each layout whose marks are there."""
    for prefix in PREFIXES:
        own = strip(shapes, prefix)
        for layout, rename in _readings(own):
            yield naming(prefix, layout, own, rename)


def guesses(shapes: Shapes) -> Iterator[Naming]:
    """Every reading, marks or not: for saying what an unknown file comes nearest to."""
    for prefix in PREFIXES:
        if own := strip(shapes, prefix):
            for layout, rename in RENAMES.items():
                yield naming(prefix, layout, own, rename)


def strip(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    """The tensors under the prefix, less leftovers, without the prefix."""
    own = {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    return {name: shape for name, shape in own.items() if not LEFTOVERS.match(name)}


def naming(prefix: str, layout: str, own: Shapes, rename: Rename) -> Naming:
    renamed, one_frame = rename(own), _is_one_frame(own)
    return Naming(
        prefix=prefix,
        layout=layout,
        shapes={new: wan.over_frames(new, _as_conv(new, own[old], one_frame)) for old, new in renamed.items()},
        names={new: prefix + old for old, new in renamed.items()},
    )


def _as_conv(name: str, shape: tuple[int, ...], one_frame: bool) -> tuple[int, ...]:
    """The shape of a convolution of images.

    Attention's 1x1 convolutions are stored as Linear by diffusers, (C, C) is (C, C, 1, 1), and over one frame in
    networks of clips: (C, C, 1, 1, 1). HunyuanImage's first file holds no others: (C, C, 1, 3, 3).
    """
    if len(shape) == 5 and shape[2] == 1 and (one_frame or LINEAR.search(name)):
        return (*shape[:2], *shape[3:])
    return (*shape, 1, 1) if len(shape) == 2 and LINEAR.search(name) else shape


def _is_one_frame(own: Shapes) -> bool:
    """Are the 3x3 convolutions of an LDM-named file over one frame? In a network of clips they are over three."""
    own = {name: shape for name, shape in own.items() if re.search(r"\.block\.\d+\.conv[12]\.weight$", name)}
    return sum(len(shape) == 5 and shape[2] == 1 for shape in own.values()) * 2 > len(own)


def _readings(own: Shapes) -> Iterator[tuple[str, Rename]]:
    def has(*starts: str) -> bool:
        return any(name.startswith(starts) for name in own)

    if has("encoder.down.", "decoder.up."):
        yield "ldm", _ldm
    if has("encoder.down_blocks.", "decoder.up_blocks."):
        legacy = any(".query." in name or ".proj_attn." in name for name in own)
        straight = kin.from_straight if kin.is_hunyuan_3d(own) else _diffusers
        yield ("diffusers-legacy" if legacy else "diffusers"), (kin.from_row if kin.is_row(own) else straight)
    if wan.is_diffusers(own):
        yield "diffusers", wan.from_diffusers
    if has("encoder.downsamples.", "decoder.upsamples."):
        yield "original", _same
    if any(NUMBERED_TWICE.match(name) for name in own):
        yield "diffusers", _same
    if has("encoder.stages.", "decoder.stages."):
        yield "original", dc_ae.from_original
    if has("taesd_encoder.", "taesd_decoder."):
        yield "taesd", _taesd
    if has("encoder.layers.", "decoder.layers."):
        yield "diffusers", _tiny_diffusers
    if has("encoder.0.", "decoder.1."):
        yield "module", _same
    if has("in_block.1.", "down_blocks.0.gammas", "vquantizer."):
        yield ("diffusers" if has("vquantizer.embedding.") else "original"), _cascade
    if has("encoder.backbone.", "previewer.", "decoder.blocks."):
        yield "original", _cascade
    if "pixel_space_vae" in own:
        yield "pixel", _same
    if own and not has("encoder.", "decoder."):
        yield from _bare_halves(own)


def _bare_halves(own: Shapes) -> Iterator[tuple[str, Rename]]:
    """A half without its own name. Layer 0 of a tiny encoder has weights; in a tiny decoder it is the clamp."""
    tops = {name.partition(".")[0] for name in own}
    for half, level, other in (("encoder", "down", "up"), ("decoder", "up", "down")):
        if level in tops and other not in tops:
            yield half, _half(half, _ldm)
        if f"{level}_blocks" in tops and f"{other}_blocks" not in tops:  # a U-Net has both
            yield half, _half(half, _diffusers)
            yield half, _half(half, _same)
    if "stages" in tops and "project_in" in tops:  # the two halves' names are alike: what fits better counts
        yield "encoder", _half("encoder", dc_ae.from_original)
        yield "decoder", _half("decoder", dc_ae.from_original)
    if "backbone" in tops:
        yield "encoder", _half("encoder", _same)
    if "blocks" in tops:
        yield "decoder", _half("decoder", _same)
    if tops == {"layers"}:
        half = "encoder" if any(name.startswith("layers.1.") for name in own) else "decoder"
        yield half, _half(half, _tiny_diffusers)
    if all(top.isdecimal() for top in tops):
        half = "encoder" if "0" in tops else "decoder"
        yield half, _half(half, _same)


def _half(half: str, rename: Rename) -> Rename:
    """A bare half is named as in the whole, with `encoder.` or `decoder.` left out where the whole has it."""

    def renamed(own: Shapes) -> dict[str, str]:
        named = {name: name if name.startswith(OUTSIDE) else f"{half}.{name}" for name in own}
        reference = rename({named[name]: shape for name, shape in own.items()})
        return {name: reference[named[name]] for name in own}

    return renamed


def _same(own: Shapes) -> dict[str, str]:
    return {name: name for name in own}


def _ldm(own: Shapes) -> dict[str, str]:
    """CompVis names are the reference; Black Forest Labs keeps the quant convs inside the halves."""
    return {name: re.sub(r"^(?:encoder|decoder)\.((?:post_)?quant_conv\.)", r"\1", name) for name in own}


def _taesd(own: Shapes) -> dict[str, str]:
    return {name: name.removeprefix("taesd_") for name in own}


def _tiny_diffusers(own: Shapes) -> dict[str, str]:
    """diffusers does not count the decoder's clamp, so its layers are one behind."""

    def number(match: re.Match) -> str:
        return f"{match[1]}.{int(match[2]) + (match[1] == 'decoder')}."

    return {name: re.sub(r"^(encoder|decoder)\.layers\.(\d+)\.", number, name) for name in own}


def to_tiny_diffusers(names: Iterable[str]) -> dict[str, str]:
    def number(match: re.Match) -> str:
        return f"{match[1]}.layers.{int(match[2]) - (match[1] == 'decoder')}."

    return {name: re.sub(r"^(encoder|decoder)\.(\d+)\.", number, name) for name in names}


def _diffusers(own: Shapes) -> dict[str, str]:
    ldm = _ldm(own)
    reference = kin.from_turned({ldm[name]: shape for name, shape in own.items()})
    return {name: reference[ldm[name]] for name in own}


def _cascade(own: Shapes) -> dict[str, str]:
    """diffusers' names of stage A are the reference; stage C's decoder is called so."""
    return {name: _CASCADE.read(name) for name in own}


def to_cascade(names: Iterable[str]) -> dict[str, str]:
    return {name: _CASCADE.write(name) for name in names}


_CASCADE = both_ways(("^previewer.", "^decoder."), ("^vquantizer.codebook.", "^vquantizer.embedding."))
NUMBERED_TWICE = re.compile(r"(?:encoder\.down|decoder\.up)_blocks\.\d+\.\d+\.")


RENAMES: Mapping[str, Rename] = {
    "ldm": _ldm,
    "diffusers": _diffusers,
    "original": dc_ae.from_original,
    "diffusers (numbered twice)": _same,
    "diffusers (HunyuanVideo 1.5)": kin.from_straight,
    "diffusers (Wan)": wan.from_diffusers,
    "taesd": _taesd,
    "diffusers (tiny)": _tiny_diffusers,
    "original (Stable Cascade)": _cascade,
    "encoder": _half("encoder", _ldm),
    "decoder": _half("decoder", _ldm),
}
